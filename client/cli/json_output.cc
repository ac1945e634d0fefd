#include "client/cli/json_output.h"

#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "attribution/dtype_names.h"

namespace attribution::cli {
namespace {

using Json = nlohmann::ordered_json;

// Numbers that JSON cannot write become null.
Json Number(std::optional<double> value) {
  if (!value.has_value() || !std::isfinite(*value)) return nullptr;
  return *value;
}

// Takes the shortest decimal that is read back as the same float, instead of the digits of its double.
Json Number(float value) {
  if (!std::isfinite(value)) return nullptr;
  std::array<char, 32> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  double shortest = 0;
  std::from_chars(digits.data(), end, shortest);
  return shortest;
}

Json Object(const Metrics& metrics) {
  return {{"mean_attention", Number(metrics.mean_attention)},
          {"max_attention", Number(metrics.max_attention)},
          {"attention_entropy", Number(metrics.attention_entropy)},
          {"attention_concentration", Number(metrics.attention_concentration)},
          {"rollout_max", Number(metrics.rollout_max)},
          {"rollout_entropy", Number(metrics.rollout_entropy)},
          {"batch_size", metrics.batch_size},
          {"seq_length", metrics.seq_length}};
}

Json Object(const LayerMetrics& layer) {
  return {{"layer_idx", layer.layer_idx},
          {"site_index", layer.site_index},
          {"module_path", layer.module_path},
          {"mean_attention", Number(std::optional<double>(layer.mean_attention))},
          {"max_attention", Number(std::optional<double>(layer.max_attention))},
          {"attention_entropy", Number(std::optional<double>(layer.attention_entropy))},
          {"attention_concentration", Number(std::optional<double>(layer.attention_concentration))},
          {"num_rows", layer.num_rows},
          {"num_cells", layer.num_cells}};
}

Json Object(const ResolvedOptions& options) {
  return {{"preset", PresetName(options.preset)},
          {"attention_layer_pattern", options.attention_layer_pattern},
          {"layer_idx", options.layer_idx},
          {"start_layer", options.start_layer},
          {"end_layer", options.end_layer},
          {"residual_weight", options.residual_weight},
          {"head", options.head.has_value() ? Json(*options.head) : Json(nullptr)},
          {"discard_ratio", options.discard_ratio},
          {"include_padding", options.include_padding}};
}

Json Sequence(const Reply& reply, int index, bool with_rollout) {
  const auto i = static_cast<size_t>(index);
  Json sequence = {{"index", index}};
  if (i < reply.texts.size()) sequence["text"] = reply.texts[i];
  if (i < reply.admitted.tokens.size()) {
    sequence["input_ids"] = reply.admitted.tokens[i].input_ids;
    sequence["tokens"] = reply.admitted.tokens[i].tokens;
  }
  sequence["metrics"] = Object(reply.result.sequences[i]);
  if (const auto found = reply.rollouts.find(index); with_rollout && found != reply.rollouts.end()) {
    Json rows = Json::array();
    Json numbers = Json::array();
    for (const auto& [row, cells] : found->second.rows) {
      Json values = Json::array();
      for (const float cell : cells) values.push_back(Number(cell));
      numbers.push_back(row);
      rows.push_back(std::move(values));
    }
    sequence["rollout_rows"] = std::move(numbers);
    sequence["rollout"] = std::move(rows);
  }
  if (const auto found = reply.top_cells.find(index); found != reply.top_cells.end()) {
    Json cells = Json::array();
    for (const Cell& cell : found->second) {
      cells.push_back({{"row", cell.row}, {"column", cell.column}, {"value", Number(cell.value)}});
    }
    sequence["top_cells"] = std::move(cells);
  }
  return sequence;
}

// Null for a model without one.
Json PatchGridObject(const std::optional<PatchGrid>& grid) {
  if (!grid.has_value()) return nullptr;
  return {{"rows", grid->rows}, {"columns", grid->columns}, {"first_position", grid->first_position}};
}

Json Object(const ModelInfo& model) {
  Json inputs = Json::array();
  for (const ModelInput& input : model.inputs) {
    inputs.push_back({{"name", input.name}, {"dtype", DtypeName(input.dtype)}, {"shape", input.shape}});
  }
  Json sites = Json::array();
  for (const AttentionSite& site : model.sites) {
    sites.push_back({{"index", site.index},
                     {"module_path", site.module_path},
                     {"kind", SiteKindName(site.kind)},
                     {"operator_name", site.operator_name},
                     {"executions", site.executions},
                     {"tap_reason", site.tap_reason},
                     {"group", site.group},
                     {"source", site.source}});
  }
  Json skipped = Json::array();
  for (const SkippedSite& site : model.skipped)
    skipped.push_back({{"name", site.name}, {"reason", site.reason}, {"source", site.source}});
  return {{"name", model.name},
          {"version", model.version},
          {"state", StateName(model.state)},
          {"sha256", model.sha256},
          {"device", model.device},
          {"num_layers", model.num_layers},
          {"num_heads", model.num_heads},
          {"vocabulary_size", model.vocabulary_size},
          {"max_sequence_length", model.max_sequence_length},
          {"inputs", inputs},
          {"patch_grid", PatchGridObject(model.patch_grid)},
          {"has_tokenizer", model.has_tokenizer},
          {"sites", sites},
          {"skipped", skipped},
          {"resident_bytes", model.resident_bytes},
          {"load_error", model.load_error}};
}

// Bytes that are not UTF-8 are replaced rather than refused.
std::string Text(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

}  // namespace

std::string JsonOfReply(const Reply& reply, bool with_rollout) {
  const Admitted& admitted = reply.admitted;
  const AttributionResult& result = reply.result;
  Json sequences = Json::array();
  for (size_t i = 0; i < result.sequences.size(); ++i)
    sequences.push_back(Sequence(reply, static_cast<int>(i), with_rollout));
  Json layers = Json::array();
  for (const LayerMetrics& layer : result.layers) layers.push_back(Object(layer));
  Json json = {{"model", reply.model},
               {"model_version", admitted.model_version},
               {"model_sha256", admitted.model_sha256},
               {"device", admitted.device},
               {"num_layers", admitted.num_layers},
               {"options", Object(admitted.options)},
               {"rollout_method", RolloutMethodName(admitted.rollout_method)},
               {"metrics", Object(result.metrics)},
               {"sequences", sequences},
               {"layers", layers},
               {"memory",
                {{"estimated_peak_bytes", admitted.estimated_peak_bytes},
                 {"measured_peak_bytes", result.measured_peak_bytes},
                 {"measured_attention_bytes", result.measured_attention_bytes}}},
               {"timings",
                {{"queue_seconds", Number(std::optional<double>(result.queue_seconds))},
                 {"forward_seconds", Number(std::optional<double>(result.forward_seconds))},
                 {"total_seconds", Number(std::optional<double>(result.total_seconds))}}},
               {"num_chunks", result.num_chunks},
               {"oom_retries", result.oom_retries}};
  if (reply.model.empty()) {
    for (const char* key : {"model", "model_version", "model_sha256"}) json.erase(key);
  }
  if (result.corrected.has_value()) json["corrected"] = Object(*result.corrected);
  return Text(json);
}

std::string JsonOfEstimate(const EstimateRequest& request, const AdmissionEstimate& estimate) {
  return Text(
      {{"model", request.model},
       {"batch_size", request.batch_size},
       {"seq_length", request.seq_length},
       {"estimated_peak_bytes", estimate.estimated_peak_bytes},
       {"chunk_size", estimate.chunk_size},
       {"num_chunks", estimate.num_chunks},
       {"fits_now", estimate.fits_now},
       {"ever_fits", estimate.ever_fits},
       {"max_seq_length_that_fits", estimate.max_seq_length_that_fits},
       {"expected_wait_seconds", Number(std::optional<double>(estimate.expected_wait_seconds))},
       {"expected_duration_seconds", Number(std::optional<double>(estimate.expected_duration_seconds))}});
}

std::string JsonOfModels(const std::vector<ModelInfo>& models) {
  Json list = Json::array();
  for (const ModelInfo& model : models) list.push_back(Object(model));
  return Text({{"models", list}});
}

std::string JsonOfModel(const ModelInfo& model) { return Text(Object(model)); }

std::string JsonOfHealth(const std::string& service, const std::string& state) {
  return Text({{"service", service}, {"state", state}});
}

std::string StateName(ModelState state) {
  switch (state) {
    case ModelState::kLoading:
      return "loading";
    case ModelState::kServing:
      return "serving";
    case ModelState::kFailed:
      return "failed";
    case ModelState::kUnloaded:
      return "unloaded";
  }
  return "unknown";
}

std::string SiteKindName(SiteKind kind) {
  switch (kind) {
    case SiteKind::kBlocked:
      return "blocked";
    case SiteKind::kTapped:
      return "tapped";
    case SiteKind::kReturned:
      break;
  }
  return "returned";
}

std::string RolloutMethodName(RolloutMethod method) {
  return method == RolloutMethod::kSelectedRows ? "selected_rows" : "full_matrix";
}

}  // namespace attribution::cli
