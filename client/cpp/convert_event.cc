#include <utility>

#include "client/cpp/convert.h"

namespace attribution::client {
namespace {

Preset FromProto(v1::Preset preset) {
  switch (preset) {
    case v1::PRESET_ICLR_METRICS:
      return Preset::kIclrMetrics;
    case v1::PRESET_CHEFER_2021:
      return Preset::kChefer2021;
    case v1::PRESET_VIT_EXPLAIN:
      return Preset::kVitExplain;
    case v1::PRESET_VIT_EXPLAIN_FIXED:
      return Preset::kVitExplainFixed;
    default:
      return Preset::kAbnar2020;
  }
}

HeadFusion FromProto(v1::HeadFusion fusion) {
  if (fusion == v1::HEAD_FUSION_MAX) return HeadFusion::kMax;
  if (fusion == v1::HEAD_FUSION_MIN) return HeadFusion::kMin;
  return HeadFusion::kMean;
}

CausalCorrection FromProto(v1::CausalCorrection correction) {
  if (correction == v1::CAUSAL_CORRECTION_UNIFORM_RATIO) return CausalCorrection::kUniformRatio;
  if (correction == v1::CAUSAL_CORRECTION_DROP_FIRST) return CausalCorrection::kDropFirst;
  return CausalCorrection::kNone;
}

MatrixKind FromProto(v1::MatrixKind kind) {
  if (kind == v1::MATRIX_KIND_CORRECTED) return MatrixKind::kCorrected;
  if (kind == v1::MATRIX_KIND_LAYER_ATTENTION) return MatrixKind::kLayerAttention;
  return MatrixKind::kRollout;
}

ResolvedOptions FromProto(const v1::AttributionOptions& message) {
  ResolvedOptions options;
  options.preset = FromProto(message.preset());
  options.attention_layer_pattern = message.attention_layer_pattern();
  options.layer_idx = message.layer_idx();
  options.start_layer = message.start_layer();
  options.end_layer = message.end_layer();
  options.residual_weight = message.residual_weight();
  options.head_fusion = FromProto(message.head_fusion());
  if (message.has_head()) options.head = message.head();
  options.discard_ratio = message.discard_ratio();
  options.include_padding = message.include_padding();
  options.causal_correction = FromProto(message.causal_correction());
  options.max_chunk_size = message.max_chunk_size();
  options.chunk_policy =
      message.chunk_policy() == v1::CHUNK_POLICY_REFERENCE ? ChunkPolicy::kReference : ChunkPolicy::kAdaptive;
  return options;
}

Metrics FromProto(const v1::Metrics& message) {
  Metrics metrics;
  if (message.has_mean_attention()) metrics.mean_attention = message.mean_attention();
  if (message.has_max_attention()) metrics.max_attention = message.max_attention();
  if (message.has_attention_entropy()) metrics.attention_entropy = message.attention_entropy();
  if (message.has_attention_concentration())
    metrics.attention_concentration = message.attention_concentration();
  if (message.has_rollout_max()) metrics.rollout_max = message.rollout_max();
  if (message.has_rollout_entropy()) metrics.rollout_entropy = message.rollout_entropy();
  metrics.batch_size = message.batch_size();
  metrics.seq_length = message.seq_length();
  return metrics;
}

Admitted FromProto(const v1::Admitted& message) {
  Admitted admitted;
  admitted.estimated_peak_bytes = message.estimated_peak_bytes();
  admitted.chunk_size = message.chunk_size();
  admitted.num_chunks = message.num_chunks();
  admitted.num_layers = message.num_layers();
  admitted.queue_seconds = message.queue_seconds();
  admitted.expected_seconds = message.expected_seconds();
  admitted.device = message.device();
  admitted.model_version = message.model_version();
  admitted.model_sha256 = message.model_sha256();
  admitted.options = FromProto(message.options());
  admitted.rollout_method = message.rollout_method() == v1::ROLLOUT_METHOD_SELECTED_ROWS
                                ? RolloutMethod::kSelectedRows
                                : RolloutMethod::kFullMatrix;
  for (const v1::SequenceTokens& tokens : message.tokens()) {
    admitted.tokens.push_back({.input_ids = {tokens.input_ids().begin(), tokens.input_ids().end()},
                               .tokens = {tokens.tokens().begin(), tokens.tokens().end()}});
  }
  return admitted;
}

LayerMetrics FromProto(const v1::LayerMetrics& message) {
  return {.layer_idx = message.layer_idx(),
          .site_index = message.site_index(),
          .module_path = message.module_path(),
          .chunk_index = message.chunk_index(),
          .mean_attention = message.mean_attention(),
          .max_attention = message.max_attention(),
          .attention_entropy = message.attention_entropy(),
          .attention_concentration = message.attention_concentration(),
          .num_rows = message.num_rows(),
          .num_cells = message.num_cells()};
}

ChunkMetrics FromProto(const v1::ChunkMetrics& message) {
  return {.chunk_index = message.chunk_index(),
          .first_sequence = message.first_sequence(),
          .num_sequences = message.num_sequences(),
          .metrics = FromProto(message.metrics())};
}

MatrixSlice FromProto(v1::MatrixSlice&& message) {
  return {.sequence_index = message.sequence_index(),
          .first_row = message.first_row(),
          .rows = message.rows(),
          .columns = message.columns(),
          .layer_idx = message.layer_idx(),
          .kind = FromProto(message.kind()),
          .encoding = message.encoding() == v1::MATRIX_ENCODING_FP16 ? MatrixEncoding::kFloat16
                                                                     : MatrixEncoding::kFloat32,
          .data = std::move(*message.mutable_data())};
}

TopCells FromProto(const v1::TopCells& message) {
  TopCells top{.sequence_index = message.sequence_index(), .cells = {}, .kind = FromProto(message.kind())};
  for (const v1::Cell& cell : message.cells()) {
    top.cells.push_back({.row = cell.row(), .column = cell.column(), .value = cell.value()});
  }
  return top;
}

Replanned FromProto(const v1::Replanned& message) {
  return {.first_sequence = message.first_sequence(),
          .chunk_size = message.chunk_size(),
          .num_chunks = message.num_chunks(),
          .attempt = message.attempt()};
}

AttributionResult FromProto(const v1::AttributionResult& message) {
  AttributionResult result;
  result.metrics = FromProto(message.metrics());
  for (const v1::Metrics& sequence : message.sequences()) result.sequences.push_back(FromProto(sequence));
  for (const v1::LayerMetrics& layer : message.layers()) result.layers.push_back(FromProto(layer));
  if (message.has_corrected()) result.corrected = FromProto(message.corrected());
  result.measured_peak_bytes = message.measured_peak_bytes();
  result.measured_attention_bytes = message.measured_attention_bytes();
  result.queue_seconds = message.queue_seconds();
  result.forward_seconds = message.forward_seconds();
  result.total_seconds = message.total_seconds();
  result.num_chunks = message.num_chunks();
  result.oom_retries = message.oom_retries();
  return result;
}

// AttributeResponse and RolloutResponse have the same events.
template <typename Response>
std::optional<Event> EventOf(Response& response) {
  switch (response.event_case()) {
    case Response::kAdmitted:
      return FromProto(response.admitted());
    case Response::kLayer:
      return FromProto(response.layer());
    case Response::kChunk:
      return FromProto(response.chunk());
    case Response::kMatrix:
      return FromProto(std::move(*response.mutable_matrix()));
    case Response::kTop:
      return FromProto(response.top());
    case Response::kReplanned:
      return FromProto(response.replanned());
    case Response::kResult:
      return FromProto(response.result());
    case Response::EVENT_NOT_SET:
      break;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Event> FromProto(v1::AttributeResponse&& response) { return EventOf(response); }

std::optional<Event> FromProto(v1::RolloutResponse&& response) { return EventOf(response); }

AdmissionEstimate FromProto(const v1::EstimateResponse& message) {
  return {.estimated_peak_bytes = message.estimated_peak_bytes(),
          .chunk_size = message.chunk_size(),
          .num_chunks = message.num_chunks(),
          .fits_now = message.fits_now(),
          .ever_fits = message.ever_fits(),
          .max_seq_length_that_fits = message.max_seq_length_that_fits(),
          .expected_wait_seconds = message.expected_wait_seconds(),
          .expected_duration_seconds = message.expected_duration_seconds()};
}

}  // namespace attribution::client
