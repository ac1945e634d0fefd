#include "server/rpc/convert_request.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "grpcpp/support/proto_buffer_reader.h"

namespace attribution::rpc {
namespace {

absl::Status UnknownEnum(const std::string& field, int value) {
  return InvalidField(field, absl::StrCat("Unknown enum value. ", field, " is ", value,
                                          ", which this server does not know. Use a value of its .proto."));
}

absl::Status Convert(v1::Preset value, const std::string& field, std::optional<Preset>* preset) {
  switch (value) {
    case v1::PRESET_UNSPECIFIED:
      preset->reset();
      return absl::OkStatus();
    case v1::PRESET_ABNAR_2020:
      *preset = Preset::kAbnar2020;
      return absl::OkStatus();
    case v1::PRESET_ICLR_METRICS:
      *preset = Preset::kIclrMetrics;
      return absl::OkStatus();
    case v1::PRESET_CHEFER_2021:
      *preset = Preset::kChefer2021;
      return absl::OkStatus();
    case v1::PRESET_VIT_EXPLAIN:
      *preset = Preset::kVitExplain;
      return absl::OkStatus();
    case v1::PRESET_VIT_EXPLAIN_FIXED:
      *preset = Preset::kVitExplainFixed;
      return absl::OkStatus();
    default:
      return UnknownEnum(field, value);
  }
}

absl::Status Convert(v1::HeadFusion value, const std::string& field, std::optional<HeadFusion>* fusion) {
  switch (value) {
    case v1::HEAD_FUSION_UNSPECIFIED:
      fusion->reset();
      return absl::OkStatus();
    case v1::HEAD_FUSION_MEAN:
      *fusion = HeadFusion::kMean;
      return absl::OkStatus();
    case v1::HEAD_FUSION_MAX:
      *fusion = HeadFusion::kMax;
      return absl::OkStatus();
    case v1::HEAD_FUSION_MIN:
      *fusion = HeadFusion::kMin;
      return absl::OkStatus();
    default:
      return UnknownEnum(field, value);
  }
}

absl::Status Convert(v1::CausalCorrection value, const std::string& field, CausalCorrection* correction) {
  switch (value) {
    case v1::CAUSAL_CORRECTION_UNSPECIFIED:
      *correction = CausalCorrection::kNone;
      return absl::OkStatus();
    case v1::CAUSAL_CORRECTION_UNIFORM_RATIO:
      *correction = CausalCorrection::kUniformRatio;
      return absl::OkStatus();
    case v1::CAUSAL_CORRECTION_DROP_FIRST:
      *correction = CausalCorrection::kDropFirst;
      return absl::OkStatus();
    default:
      return UnknownEnum(field, value);
  }
}

absl::Status Convert(v1::ChunkPolicy value, const std::string& field, ChunkPolicy* policy) {
  switch (value) {
    case v1::CHUNK_POLICY_UNSPECIFIED:
      *policy = ChunkPolicy::kServerDefault;
      return absl::OkStatus();
    case v1::CHUNK_POLICY_ADAPTIVE:
      *policy = ChunkPolicy::kAdaptive;
      return absl::OkStatus();
    case v1::CHUNK_POLICY_REFERENCE:
      *policy = ChunkPolicy::kReference;
      return absl::OkStatus();
    default:
      return UnknownEnum(field, value);
  }
}

absl::Status Convert(v1::RowSelection::Kind value, const std::string& field, RowSelection::Kind* kind) {
  switch (value) {
    case v1::RowSelection::KIND_UNSPECIFIED:
    case v1::RowSelection::KIND_ALL:
      *kind = RowSelection::Kind::kAll;
      return absl::OkStatus();
    case v1::RowSelection::KIND_FIRST_VALID:
      *kind = RowSelection::Kind::kFirstValid;
      return absl::OkStatus();
    case v1::RowSelection::KIND_LAST_VALID:
      *kind = RowSelection::Kind::kLastValid;
      return absl::OkStatus();
    case v1::RowSelection::KIND_INDICES:
      *kind = RowSelection::Kind::kIndices;
      return absl::OkStatus();
    default:
      return UnknownEnum(field, value);
  }
}

absl::Status Convert(v1::MatrixEncoding value, const std::string& field, MatrixEncoding* encoding) {
  switch (value) {
    case v1::MATRIX_ENCODING_UNSPECIFIED:
    case v1::MATRIX_ENCODING_FP32:
      *encoding = MatrixEncoding::kFloat32;
      return absl::OkStatus();
    case v1::MATRIX_ENCODING_FP16:
      *encoding = MatrixEncoding::kFloat16;
      return absl::OkStatus();
    default:
      return UnknownEnum(field, value);
  }
}

// Refuses TENSOR_DTYPE_UNSPECIFIED too: bytes without a type mean nothing.
absl::Status Convert(v1::TensorDtype value, const std::string& field, TensorDtype* dtype) {
  switch (value) {
    case v1::TENSOR_DTYPE_FLOAT32:
      *dtype = TensorDtype::kFloat32;
      return absl::OkStatus();
    case v1::TENSOR_DTYPE_FLOAT16:
      *dtype = TensorDtype::kFloat16;
      return absl::OkStatus();
    case v1::TENSOR_DTYPE_BFLOAT16:
      *dtype = TensorDtype::kBfloat16;
      return absl::OkStatus();
    case v1::TENSOR_DTYPE_INT64:
      *dtype = TensorDtype::kInt64;
      return absl::OkStatus();
    case v1::TENSOR_DTYPE_INT32:
      *dtype = TensorDtype::kInt32;
      return absl::OkStatus();
    case v1::TENSOR_DTYPE_BOOL:
      *dtype = TensorDtype::kBool;
      return absl::OkStatus();
    default:
      return UnknownEnum(field, value);
  }
}

// Refuses ATTENTION_FORM_UNSPECIFIED too.
absl::Status Convert(v1::AttentionForm value, const std::string& field, AttentionForm* form) {
  switch (value) {
    case v1::ATTENTION_FORM_PER_HEAD:
      *form = AttentionForm::kPerHead;
      return absl::OkStatus();
    case v1::ATTENTION_FORM_FUSED:
      *form = AttentionForm::kFused;
      return absl::OkStatus();
    case v1::ATTENTION_FORM_SINGLE:
      *form = AttentionForm::kSingle;
      return absl::OkStatus();
    default:
      return UnknownEnum(field, value);
  }
}

absl::Status Convert(const v1::AttributionOptions& from, AttributionOptions* to) {
  if (from.has_layer_idx()) to->layer_idx = from.layer_idx();
  to->attention_layer_pattern = from.attention_layer_pattern();
  if (from.has_residual_weight()) to->residual_weight = from.residual_weight();
  if (from.has_head()) to->head = from.head();
  if (from.has_start_layer()) to->start_layer = from.start_layer();
  if (from.has_end_layer()) to->end_layer = from.end_layer();
  if (from.has_discard_ratio()) to->discard_ratio = from.discard_ratio();
  to->include_padding = from.include_padding();
  to->max_chunk_size = from.max_chunk_size();
  absl::Status status = Convert(from.preset(), "options.preset", &to->preset);
  status.Update(Convert(from.head_fusion(), "options.head_fusion", &to->head_fusion));
  status.Update(Convert(from.causal_correction(), "options.causal_correction", &to->causal_correction));
  status.Update(Convert(from.chunk_policy(), "options.chunk_policy", &to->chunk_policy));
  return status;
}

absl::Status Convert(const v1::OutputSelection& from, OutputSelection* to) {
  to->layer_metrics = from.layer_metrics();
  to->rollout_matrix = from.rollout_matrix();
  to->layer_matrices = from.layer_matrices();
  to->rows.indices.assign(from.rows().indices().begin(), from.rows().indices().end());
  to->top_k = from.top_k();
  to->tokens = from.tokens();
  to->skip_rollout_metrics = from.skip_rollout_metrics();
  absl::Status status = Convert(from.rows().kind(), "output.rows.kind", &to->rows.kind);
  status.Update(Convert(from.encoding(), "output.encoding", &to->encoding));
  return status;
}

TokenBatch ConvertTokens(const v1::TokenBatch& from) {
  TokenBatch to;
  to.sequences.reserve(from.sequences_size());
  for (const v1::TokenSequence& sequence : from.sequences()) {
    to.sequences.push_back({{sequence.input_ids().begin(), sequence.input_ids().end()},
                            {sequence.attention_mask().begin(), sequence.attention_mask().end()},
                            {sequence.token_type_ids().begin(), sequence.token_type_ids().end()}});
  }
  return to;
}

TextBatch ConvertText(v1::TextBatch& from) {
  TextBatch to;
  to.texts.reserve(from.texts_size());
  for (std::string& text : *from.mutable_texts()) to.texts.push_back(std::move(text));
  to.truncate = from.truncate();
  return to;
}

absl::Status ConvertTensors(v1::TensorBatch& from, TensorBatch* to) {
  for (int i = 0; i < from.tensors_size(); ++i) {
    v1::NamedTensor& tensor = *from.mutable_tensors(i);
    NamedTensor& out = to->tensors.emplace_back();
    const absl::Status status =
        Convert(tensor.dtype(), absl::StrCat("tensors.tensors[", i, "].dtype"), &out.dtype);
    if (!status.ok()) return status;
    out.name = std::move(*tensor.mutable_name());
    out.shape.assign(tensor.shape().begin(), tensor.shape().end());
    out.data = std::move(*tensor.mutable_data());
  }
  return absl::OkStatus();
}

// Converts what AttributeRequest and ComputeMetricsRequest have in common: all but the output.
template <typename Message>
absl::Status ConvertCommon(Message& from, AttributionRequest* to) {
  to->model = std::move(*from.mutable_model());
  to->model_version = std::move(*from.mutable_model_version());
  if (from.has_tokens()) to->input = ConvertTokens(from.tokens());
  if (from.has_text()) to->input = ConvertText(*from.mutable_text());
  if (from.has_tensors()) {
    const absl::Status status = ConvertTensors(*from.mutable_tensors(), &to->input.emplace<TensorBatch>());
    if (!status.ok()) return status;
  }
  return Convert(from.options(), &to->options);
}

}  // namespace

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message) {
  grpc::ByteBuffer shared = bytes;  // shares the bytes; the reader wants to own its buffer
  grpc::ProtoBufferReader reader(&shared);
  if (reader.status().ok() && message->ParseFromZeroCopyStream(&reader)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "The request cannot be parsed. Its ", bytes.Length(), " bytes are not a ", message->GetTypeName(),
      ", or one of its strings is not UTF-8. Build it from this server's .proto."));
}

absl::StatusOr<AttributionRequest> FromProto(v1::AttributeRequest message) {
  AttributionRequest request;
  absl::Status status = ConvertCommon(message, &request);
  status.Update(Convert(message.output(), &request.output));
  if (!status.ok()) return status;
  return request;
}

absl::StatusOr<AttributionRequest> FromProto(v1::ComputeMetricsRequest message) {
  AttributionRequest request;
  absl::Status status = ConvertCommon(message, &request);
  if (!status.ok()) return status;
  request.output.skip_rollout_metrics = message.skip_rollout_metrics();
  return request;
}

absl::StatusOr<EstimateRequest> FromProto(v1::EstimateRequest message) {
  EstimateRequest request;
  request.model = std::move(*message.mutable_model());
  request.model_version = std::move(*message.mutable_model_version());
  request.batch_size = message.batch_size();
  request.seq_length = message.seq_length();
  absl::Status status = Convert(message.options(), &request.options);
  status.Update(Convert(message.output(), &request.output));
  if (!status.ok()) return status;
  return request;
}

absl::StatusOr<RolloutRequest> FromProto(const v1::RolloutHeader& message) {
  RolloutRequest request;
  absl::Status status = Convert(message.form(), "header.form", &request.header.form);
  status.Update(Convert(message.dtype(), "header.dtype", &request.header.dtype));
  status.Update(Convert(message.options(), &request.options));
  status.Update(Convert(message.output(), &request.output));
  if (!status.ok()) return status;
  request.header.batch = message.batch();
  request.header.heads = message.heads();
  request.header.length = message.seq_length();
  request.header.layers = message.num_layers();
  request.header.masks.reserve(message.masks_size());
  for (const v1::TokenMask& mask : message.masks())
    request.header.masks.emplace_back(mask.values().begin(), mask.values().end());
  return request;
}

}  // namespace attribution::rpc
