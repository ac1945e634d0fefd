#include "server/rpc/convert_response.h"

#include <string>
#include <utility>
#include <variant>

#include "grpcpp/impl/codegen/proto_utils.h"
#include "server/rpc/valid_utf8.h"

namespace attribution::rpc {
namespace {

v1::Preset Convert(Preset preset) {
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

v1::HeadFusion Convert(HeadFusion fusion) {
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

v1::CausalCorrection Convert(CausalCorrection correction) {
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

v1::ChunkPolicy Convert(ChunkPolicy policy) {
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

v1::MatrixKind Convert(MatrixKind kind) {
  switch (kind) {
    case MatrixKind::kRollout:
      return v1::MATRIX_KIND_ROLLOUT;
    case MatrixKind::kCorrected:
      return v1::MATRIX_KIND_CORRECTED;
    case MatrixKind::kLayerAttention:
      return v1::MATRIX_KIND_LAYER_ATTENTION;
  }
  return v1::MATRIX_KIND_UNSPECIFIED;
}

v1::MatrixEncoding Convert(MatrixEncoding encoding) {
  return encoding == MatrixEncoding::kFloat16 ? v1::MATRIX_ENCODING_FP16 : v1::MATRIX_ENCODING_FP32;
}

v1::TensorDtype Convert(TensorDtype dtype) {
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

v1::ModelState Convert(ModelState state) {
  switch (state) {
    case ModelState::kLoading:
      return v1::MODEL_STATE_LOADING;
    case ModelState::kServing:
      return v1::MODEL_STATE_SERVING;
    case ModelState::kFailed:
      return v1::MODEL_STATE_FAILED;
    case ModelState::kUnloaded:
      return v1::MODEL_STATE_UNLOADED;
  }
  return v1::MODEL_STATE_UNSPECIFIED;
}

v1::SiteKind Convert(SiteKind kind) {
  switch (kind) {
    case SiteKind::kBlocked:
      return v1::SITE_KIND_BLOCKED;
    case SiteKind::kTapped:
      return v1::SITE_KIND_TAPPED;
    case SiteKind::kReturned:
      return v1::SITE_KIND_RETURNED;
  }
  return v1::SITE_KIND_UNSPECIFIED;
}

v1::Metrics Convert(const Metrics& from) {
  v1::Metrics to;
  if (from.mean_attention) to.set_mean_attention(*from.mean_attention);
  if (from.max_attention) to.set_max_attention(*from.max_attention);
  if (from.attention_entropy) to.set_attention_entropy(*from.attention_entropy);
  if (from.attention_concentration) to.set_attention_concentration(*from.attention_concentration);
  if (from.rollout_max) to.set_rollout_max(*from.rollout_max);
  if (from.rollout_entropy) to.set_rollout_entropy(*from.rollout_entropy);
  to.set_batch_size(from.batch_size);
  to.set_seq_length(from.seq_length);
  return to;
}

v1::LayerMetrics Convert(const LayerMetrics& from) {
  v1::LayerMetrics to;
  to.set_layer_idx(from.layer_idx);
  to.set_site_index(from.site_index);
  to.set_module_path(from.module_path);
  to.set_chunk_index(from.chunk_index);
  to.set_mean_attention(from.mean_attention);
  to.set_max_attention(from.max_attention);
  to.set_attention_entropy(from.attention_entropy);
  to.set_attention_concentration(from.attention_concentration);
  to.set_num_rows(from.num_rows);
  to.set_num_cells(from.num_cells);
  return to;
}

v1::AttributionOptions Convert(const ResolvedOptions& from) {
  v1::AttributionOptions to;
  to.set_layer_idx(from.layer_idx);
  to.set_attention_layer_pattern(from.attention_layer_pattern);
  to.set_preset(Convert(from.preset));
  to.set_residual_weight(from.residual_weight);
  to.set_head_fusion(Convert(from.head_fusion));
  if (from.head) to.set_head(*from.head);
  to.set_start_layer(from.start_layer);
  to.set_end_layer(from.end_layer);
  to.set_discard_ratio(from.discard_ratio);
  to.set_include_padding(from.include_padding);
  to.set_causal_correction(Convert(from.causal_correction));
  to.set_max_chunk_size(from.max_chunk_size);
  to.set_chunk_policy(Convert(from.chunk_policy));
  return to;
}

// Fills the event of a reply; one overload for each alternative of Event.
struct EventFiller {
  v1::AttributeResponse* response;

  void operator()(Admitted& event) const { *response->mutable_admitted() = ToProto(std::move(event)); }
  void operator()(LayerMetrics& event) const { *response->mutable_layer() = Convert(event); }
  void operator()(ChunkMetrics& event) const {
    v1::ChunkMetrics* chunk = response->mutable_chunk();
    chunk->set_chunk_index(event.chunk_index);
    chunk->set_first_sequence(event.first_sequence);
    chunk->set_num_sequences(event.num_sequences);
    *chunk->mutable_metrics() = Convert(event.metrics);
  }
  void operator()(MatrixSlice& event) const {
    v1::MatrixSlice* matrix = response->mutable_matrix();
    matrix->set_sequence_index(event.sequence_index);
    matrix->set_first_row(event.first_row);
    matrix->set_rows(event.rows);
    matrix->set_columns(event.columns);
    matrix->set_layer_idx(event.layer_idx);
    matrix->set_kind(Convert(event.kind));
    matrix->set_encoding(Convert(event.encoding));
    matrix->set_data(std::move(event.data));
  }
  void operator()(TopCells& event) const {
    v1::TopCells* top = response->mutable_top();
    top->set_sequence_index(event.sequence_index);
    top->set_kind(Convert(event.kind));
    for (const Cell& cell : event.cells) {
      v1::Cell* out = top->add_cells();
      out->set_row(cell.row);
      out->set_column(cell.column);
      out->set_value(cell.value);
    }
  }
  void operator()(Replanned& event) const {
    v1::Replanned* replanned = response->mutable_replanned();
    replanned->set_first_sequence(event.first_sequence);
    replanned->set_chunk_size(event.chunk_size);
    replanned->set_num_chunks(event.num_chunks);
    replanned->set_attempt(event.attempt);
  }
  void operator()(AttributionResult& event) const { *response->mutable_result() = ToProto(event); }
};

}  // namespace

v1::Admitted ToProto(Admitted from) {
  v1::Admitted to;
  to.set_estimated_peak_bytes(from.estimated_peak_bytes);
  to.set_chunk_size(from.chunk_size);
  to.set_num_chunks(from.num_chunks);
  to.set_num_layers(from.num_layers);
  to.set_queue_seconds(from.queue_seconds);
  to.set_expected_seconds(from.expected_seconds);
  to.set_device(std::move(from.device));
  to.set_model_version(std::move(from.model_version));
  to.set_model_sha256(std::move(from.model_sha256));
  *to.mutable_options() = Convert(from.options);
  to.set_rollout_method(from.rollout_method == RolloutMethod::kSelectedRows ? v1::ROLLOUT_METHOD_SELECTED_ROWS
                                                                            : v1::ROLLOUT_METHOD_FULL_MATRIX);
  for (SequenceTokens& sequence : from.tokens) {
    v1::SequenceTokens* tokens = to.add_tokens();
    tokens->mutable_input_ids()->Add(sequence.input_ids.begin(), sequence.input_ids.end());
    for (std::string& token : sequence.tokens) tokens->add_tokens(ValidUtf8(std::move(token)));
  }
  return to;
}

v1::AttributionResult ToProto(const AttributionResult& from) {
  v1::AttributionResult to;
  *to.mutable_metrics() = Convert(from.metrics);
  for (const Metrics& sequence : from.sequences) *to.add_sequences() = Convert(sequence);
  for (const LayerMetrics& layer : from.layers) *to.add_layers() = Convert(layer);
  if (from.corrected) *to.mutable_corrected() = Convert(*from.corrected);
  to.set_measured_peak_bytes(from.measured_peak_bytes);
  to.set_measured_attention_bytes(from.measured_attention_bytes);
  to.set_queue_seconds(from.queue_seconds);
  to.set_forward_seconds(from.forward_seconds);
  to.set_total_seconds(from.total_seconds);
  to.set_num_chunks(from.num_chunks);
  to.set_oom_retries(from.oom_retries);
  return to;
}

v1::AttributeResponse ToProto(Event event) {
  v1::AttributeResponse response;
  std::visit(EventFiller{&response}, event);
  return response;
}

v1::EstimateResponse ToProto(const AdmissionEstimate& from) {
  v1::EstimateResponse to;
  to.set_estimated_peak_bytes(from.estimated_peak_bytes);
  to.set_chunk_size(from.chunk_size);
  to.set_num_chunks(from.num_chunks);
  to.set_fits_now(from.fits_now);
  to.set_ever_fits(from.ever_fits);
  to.set_max_seq_length_that_fits(from.max_seq_length_that_fits);
  to.set_expected_wait_seconds(from.expected_wait_seconds);
  to.set_expected_duration_seconds(from.expected_duration_seconds);
  return to;
}

v1::Model ToProto(const ModelInfo& from) {
  v1::Model to;
  to.set_name(from.name);
  to.set_version(from.version);
  to.set_state(Convert(from.state));
  to.set_sha256(from.sha256);
  to.set_device(from.device);
  to.set_num_layers(from.num_layers);
  to.set_num_heads(from.num_heads);
  to.set_vocabulary_size(from.vocabulary_size);
  to.set_max_sequence_length(from.max_sequence_length);
  for (const ModelInput& input : from.inputs) {
    v1::ModelInput* out = to.add_inputs();
    out->set_name(input.name);
    out->set_dtype(Convert(input.dtype));
    out->mutable_shape()->Add(input.shape.begin(), input.shape.end());
  }
  if (from.patch_grid.has_value()) {
    to.mutable_patch_grid()->set_rows(from.patch_grid->rows);
    to.mutable_patch_grid()->set_columns(from.patch_grid->columns);
    to.mutable_patch_grid()->set_first_position(from.patch_grid->first_position);
  }
  to.set_has_tokenizer(from.has_tokenizer);
  for (const AttentionSite& site : from.sites) {
    v1::AttentionSite* out = to.add_sites();
    out->set_index(site.index);
    out->set_module_path(site.module_path);
    out->set_kind(Convert(site.kind));
    out->set_operator_name(site.operator_name);
    out->set_executions(site.executions);
    out->set_tap_reason(site.tap_reason);
    out->set_group(site.group);
    out->set_source(ValidUtf8(site.source));
  }
  for (const SkippedSite& skipped : from.skipped) {
    v1::SkippedSite* out = to.add_skipped();
    out->set_name(skipped.name);
    out->set_reason(skipped.reason);
    out->set_source(ValidUtf8(skipped.source));
  }
  to.set_resident_bytes(from.resident_bytes);
  to.set_load_error(ValidUtf8(from.load_error));
  return to;
}

grpc::ByteBuffer ToBytes(const google::protobuf::Message& message) {
  grpc::ByteBuffer bytes;
  bool own_buffer = false;
  grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(message, &bytes, &own_buffer);
  return bytes;
}

}  // namespace attribution::rpc
