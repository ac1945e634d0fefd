#include "server/rollout/rollout_options.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "attribution/status_details.h"

namespace attribution::rollout {
namespace {

// Resolves a layer number that may count from the end.
absl::StatusOr<int32_t> ResolveLayer(const char* name, int32_t layer, int32_t num_layers) {
  if (layer < -num_layers || layer >= num_layers) {
    return InvalidField(absl::StrCat("options.", name),
                        absl::StrCat("Layer number out of range. ", name, " is ", layer, " and ", num_layers,
                                     " attention layers are left. Choose one in [", -num_layers, ", ",
                                     num_layers - 1, "]; negative numbers count from the end."));
  }
  return layer < 0 ? layer + num_layers : layer;
}

// What a preset sets for parameters that the caller left open.
struct PresetDefaults {
  int32_t start_layer = 0;
  double discard_ratio = 0;
};

absl::StatusOr<PresetDefaults> DefaultsOf(Preset preset) {
  switch (preset) {
    case Preset::kAbnar2020:
    case Preset::kIclrMetrics:
      return PresetDefaults();
    case Preset::kChefer2021:
      return PresetDefaults{/*start_layer=*/1, /*discard_ratio=*/0};
    case Preset::kVitExplain:
    case Preset::kVitExplainFixed:
      return PresetDefaults{/*start_layer=*/0, /*discard_ratio=*/0.9};
  }
  return InvalidField(
      "options.preset",
      absl::StrCat("Unknown preset. Its number is ", static_cast<int>(preset),
                   ". Use one of the presets of docs/rollout.md, such as PRESET_ABNAR_2020."));
}

// Written as "not inside", so that NaN is outside.
absl::Status CheckRatios(const AttributionOptions& options) {
  if (const double weight = options.residual_weight.value_or(0.5); !(weight >= 0.0 && weight <= 1.0)) {
    return InvalidField("options.residual_weight",
                        absl::StrCat("Residual weight out of range. residual_weight is ", weight,
                                     ". Choose a number in [0, 1]; 0.5 is usual."));
  }
  if (const double ratio = options.discard_ratio.value_or(0.0); !(ratio >= 0.0 && ratio < 1.0)) {
    return InvalidField("options.discard_ratio", absl::StrCat("Discard ratio out of range. discard_ratio is ",
                                                              ratio, ". Choose a number in [0, 1)."));
  }
  return absl::OkStatus();
}

absl::Status CheckCounts(const AttributionOptions& options, int32_t num_heads) {
  if (options.head.has_value() && (*options.head < 0 || *options.head >= num_heads)) {
    return InvalidField(
        "options.head",
        absl::StrCat("Head number out of range. head is ", *options.head, " and the model has ", num_heads,
                     " heads. Choose one in [0, ", num_heads - 1, "], or leave it unset."));
  }
  if (options.max_chunk_size < 0) {
    return InvalidField("options.max_chunk_size",
                        absl::StrCat("Chunk size out of range. max_chunk_size is ", options.max_chunk_size,
                                     ". Choose a positive number, or 0 for the server's choice."));
  }
  return absl::OkStatus();
}

absl::Status CheckCausalCorrection(CausalCorrection correction) {
  switch (correction) {
    case CausalCorrection::kNone:
    case CausalCorrection::kUniformRatio:
    case CausalCorrection::kDropFirst:
      return absl::OkStatus();
  }
  return InvalidField("options.causal_correction",
                      absl::StrCat("Unknown causal correction. Its number is ", static_cast<int>(correction),
                                   ". Leave it unset."));
}

// The first layer of the rollout as given, which may count from the end, or the preset's.
absl::StatusOr<int32_t> FirstLayer(const AttributionOptions& options, const PresetDefaults& defaults,
                                   int32_t num_layers) {
  if (options.start_layer.has_value()) return *options.start_layer;
  if (defaults.start_layer < num_layers) return defaults.start_layer;
  return InvalidField("options.preset", absl::StrCat("The preset leaves no layer. It begins with layer ",
                                                     defaults.start_layer, " and ", num_layers,
                                                     " attention layers are left. Set start_layer to 0, or "
                                                     "choose another preset."));
}

absl::StatusOr<ResolvedOptions> WithLayers(const AttributionOptions& options, const PresetDefaults& defaults,
                                           int32_t num_layers) {
  ResolvedOptions resolved;
  const absl::StatusOr<int32_t> layer = ResolveLayer("layer_idx", options.layer_idx.value_or(-1), num_layers);
  if (!layer.ok()) return layer.status();
  const absl::StatusOr<int32_t> first = FirstLayer(options, defaults, num_layers);
  if (!first.ok()) return first.status();
  const absl::StatusOr<int32_t> start = ResolveLayer("start_layer", *first, num_layers);
  if (!start.ok()) return start.status();
  const absl::StatusOr<int32_t> end = ResolveLayer("end_layer", options.end_layer.value_or(-1), num_layers);
  if (!end.ok()) return end.status();
  if (*start > *end) {
    // Blames the number that the caller gave.
    const char* field = options.start_layer.has_value() ? "options.start_layer" : "options.end_layer";
    return InvalidField(field, absl::StrCat("First layer lies after last layer. start_layer is layer ",
                                            *start, ", end_layer is layer ", *end, " of ", num_layers,
                                            ". Choose start_layer <= end_layer; both are inclusive."));
  }
  resolved.layer_idx = *layer;
  resolved.start_layer = *start;
  resolved.end_layer = *end;
  return resolved;
}

}  // namespace

absl::StatusOr<ResolvedOptions> ResolveOptions(const AttributionOptions& options, int32_t num_layers,
                                               int32_t num_heads) {
  if (absl::Status status = CheckRatios(options); !status.ok()) return status;
  if (absl::Status status = CheckCounts(options, num_heads); !status.ok()) return status;
  if (absl::Status status = CheckCausalCorrection(options.causal_correction); !status.ok()) return status;
  const Preset preset = options.preset.value_or(Preset::kAbnar2020);
  const absl::StatusOr<PresetDefaults> defaults = DefaultsOf(preset);
  if (!defaults.ok()) return defaults.status();
  absl::StatusOr<ResolvedOptions> resolved = WithLayers(options, *defaults, num_layers);
  if (!resolved.ok()) return resolved;

  resolved->preset = preset;
  resolved->attention_layer_pattern = options.attention_layer_pattern;
  resolved->residual_weight = options.residual_weight.value_or(0.5);
  resolved->head_fusion = options.head_fusion.value_or(HeadFusion::kMean);
  resolved->head = options.head;
  resolved->discard_ratio = options.discard_ratio.value_or(defaults->discard_ratio);
  resolved->include_padding = options.include_padding;
  resolved->causal_correction = options.causal_correction;
  resolved->max_chunk_size = options.max_chunk_size;
  resolved->chunk_policy = options.chunk_policy;
  return resolved;
}

}  // namespace attribution::rollout
