#include <variant>

#include "client/cpp/convert.h"

namespace attribution::client {
namespace {

v1::Preset ToProto(Preset preset) {
  switch (preset) {
    case Preset::kAbnar2020:
      return v1::PRESET_ABNAR_2020;
    case Preset::kIclrMetrics:
      return v1::PRESET_ICLR_METRICS;
    case Preset::kChefer2021:
      return v1::PRESET_CHEFER_2021;
    case Preset::kVitExplain:
      return v1::PRESET_VIT_EXPLAIN;
    case Preset::kVitExplainFixed:
      return v1::PRESET_VIT_EXPLAIN_FIXED;
  }
  return v1::PRESET_UNSPECIFIED;
}

v1::HeadFusion ToProto(HeadFusion fusion) {
  switch (fusion) {
    case HeadFusion::kMean:
      return v1::HEAD_FUSION_MEAN;
    case HeadFusion::kMax:
      return v1::HEAD_FUSION_MAX;
    case HeadFusion::kMin:
      return v1::HEAD_FUSION_MIN;
  }
  return v1::HEAD_FUSION_UNSPECIFIED;
}

v1::CausalCorrection ToProto(CausalCorrection correction) {
  switch (correction) {
    case CausalCorrection::kNone:
      return v1::CAUSAL_CORRECTION_UNSPECIFIED;
    case CausalCorrection::kUniformRatio:
      return v1::CAUSAL_CORRECTION_UNIFORM_RATIO;
    case CausalCorrection::kDropFirst:
      return v1::CAUSAL_CORRECTION_DROP_FIRST;
  }
  return v1::CAUSAL_CORRECTION_UNSPECIFIED;
}

v1::ChunkPolicy ToProto(ChunkPolicy policy) {
  switch (policy) {
    case ChunkPolicy::kServerDefault:
      return v1::CHUNK_POLICY_UNSPECIFIED;
    case ChunkPolicy::kAdaptive:
      return v1::CHUNK_POLICY_ADAPTIVE;
    case ChunkPolicy::kReference:
      return v1::CHUNK_POLICY_REFERENCE;
  }
  return v1::CHUNK_POLICY_UNSPECIFIED;
}

v1::TensorDtype ToProto(TensorDtype dtype) {
  switch (dtype) {
    case TensorDtype::kFloat32:
      return v1::TENSOR_DTYPE_FLOAT32;
    case TensorDtype::kFloat16:
      return v1::TENSOR_DTYPE_FLOAT16;
    case TensorDtype::kBfloat16:
      return v1::TENSOR_DTYPE_BFLOAT16;
    case TensorDtype::kInt64:
      return v1::TENSOR_DTYPE_INT64;
    case TensorDtype::kInt32:
      return v1::TENSOR_DTYPE_INT32;
    case TensorDtype::kBool:
      return v1::TENSOR_DTYPE_BOOL;
  }
  return v1::TENSOR_DTYPE_UNSPECIFIED;
}

v1::AttentionForm ToProto(AttentionForm form) {
  switch (form) {
    case AttentionForm::kPerHead:
      return v1::ATTENTION_FORM_PER_HEAD;
    case AttentionForm::kFused:
      return v1::ATTENTION_FORM_FUSED;
    case AttentionForm::kSingle:
      return v1::ATTENTION_FORM_SINGLE;
  }
  return v1::ATTENTION_FORM_UNSPECIFIED;
}

v1::RowSelection::Kind ToProto(RowSelection::Kind kind) {
  switch (kind) {
    case RowSelection::Kind::kAll:
      return v1::RowSelection::KIND_ALL;
    case RowSelection::Kind::kFirstValid:
      return v1::RowSelection::KIND_FIRST_VALID;
    case RowSelection::Kind::kLastValid:
      return v1::RowSelection::KIND_LAST_VALID;
    case RowSelection::Kind::kIndices:
      return v1::RowSelection::KIND_INDICES;
  }
  return v1::RowSelection::KIND_UNSPECIFIED;
}

void Fill(const TokenBatch& batch, v1::AttributeRequest& message) {
  v1::TokenBatch& tokens = *message.mutable_tokens();
  for (const TokenSequence& sequence : batch.sequences) {
    v1::TokenSequence& one = *tokens.add_sequences();
    one.mutable_input_ids()->Assign(sequence.input_ids.begin(), sequence.input_ids.end());
    one.mutable_attention_mask()->Assign(sequence.attention_mask.begin(), sequence.attention_mask.end());
    one.mutable_token_type_ids()->Assign(sequence.token_type_ids.begin(), sequence.token_type_ids.end());
  }
}

void Fill(const TextBatch& batch, v1::AttributeRequest& message) {
  v1::TextBatch& text = *message.mutable_text();
  text.mutable_texts()->Assign(batch.texts.begin(), batch.texts.end());
  text.set_truncate(batch.truncate);
}

void Fill(const TensorBatch& batch, v1::AttributeRequest& message) {
  v1::TensorBatch& tensors = *message.mutable_tensors();
  for (const NamedTensor& tensor : batch.tensors) {
    v1::NamedTensor& one = *tensors.add_tensors();
    one.set_name(tensor.name);
    one.set_dtype(ToProto(tensor.dtype));
    one.mutable_shape()->Assign(tensor.shape.begin(), tensor.shape.end());
    one.set_data(tensor.data);
  }
}

void Fill(std::monostate, v1::AttributeRequest&) {}

void Fill(const AttributionOptions& options, v1::AttributionOptions& message) {
  if (options.layer_idx) message.set_layer_idx(*options.layer_idx);
  message.set_attention_layer_pattern(options.attention_layer_pattern);
  if (options.preset) message.set_preset(ToProto(*options.preset));
  if (options.residual_weight) message.set_residual_weight(*options.residual_weight);
  if (options.head_fusion) message.set_head_fusion(ToProto(*options.head_fusion));
  if (options.head) message.set_head(*options.head);
  if (options.start_layer) message.set_start_layer(*options.start_layer);
  if (options.end_layer) message.set_end_layer(*options.end_layer);
  if (options.discard_ratio) message.set_discard_ratio(*options.discard_ratio);
  message.set_include_padding(options.include_padding);
  message.set_causal_correction(ToProto(options.causal_correction));
  message.set_max_chunk_size(options.max_chunk_size);
  message.set_chunk_policy(ToProto(options.chunk_policy));
}

void Fill(const OutputSelection& output, v1::OutputSelection& message) {
  message.set_layer_metrics(output.layer_metrics);
  message.set_rollout_matrix(output.rollout_matrix);
  message.set_layer_matrices(output.layer_matrices);
  message.mutable_rows()->set_kind(ToProto(output.rows.kind));
  message.mutable_rows()->mutable_indices()->Assign(output.rows.indices.begin(), output.rows.indices.end());
  message.set_top_k(output.top_k);
  message.set_encoding(output.encoding == MatrixEncoding::kFloat16 ? v1::MATRIX_ENCODING_FP16
                                                                   : v1::MATRIX_ENCODING_FP32);
  message.set_tokens(output.tokens);
  message.set_skip_rollout_metrics(output.skip_rollout_metrics);
}

}  // namespace

v1::AttributeRequest ToProto(const AttributionRequest& request) {
  v1::AttributeRequest message;
  message.set_model(request.model);
  message.set_model_version(request.model_version);
  std::visit([&message](const auto& input) { Fill(input, message); }, request.input);
  Fill(request.options, *message.mutable_options());
  Fill(request.output, *message.mutable_output());
  return message;
}

v1::EstimateRequest ToProto(const EstimateRequest& request) {
  v1::EstimateRequest message;
  message.set_model(request.model);
  message.set_model_version(request.model_version);
  message.set_batch_size(request.batch_size);
  message.set_seq_length(request.seq_length);
  Fill(request.options, *message.mutable_options());
  Fill(request.output, *message.mutable_output());
  return message;
}

v1::RolloutHeader ToProto(const RolloutRequest& request) {
  v1::RolloutHeader message;
  Fill(request.options, *message.mutable_options());
  Fill(request.output, *message.mutable_output());
  const AttentionHeader& header = request.header;
  message.set_dtype(ToProto(header.dtype));
  message.set_form(ToProto(header.form));
  message.set_batch(static_cast<int32_t>(header.batch));
  message.set_heads(static_cast<int32_t>(header.heads));
  message.set_seq_length(static_cast<int32_t>(header.length));
  message.set_num_layers(header.layers);
  for (const std::vector<int32_t>& mask : header.masks)
    message.add_masks()->mutable_values()->Assign(mask.begin(), mask.end());
  return message;
}

}  // namespace attribution::client
