#include "client/cli/computation_flags.h"

#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "client/cli/errors.h"

namespace attribution::cli {
namespace {

struct PresetSpelling {
  const char* name;
  Preset preset;
};
constexpr std::array<PresetSpelling, 8> kPresets = {{{"abnar-2020", Preset::kAbnar2020},
                                                     {"abnar", Preset::kAbnar2020},
                                                     {"iclr-metrics", Preset::kIclrMetrics},
                                                     {"iclr", Preset::kIclrMetrics},
                                                     {"chefer-2021", Preset::kChefer2021},
                                                     {"chefer", Preset::kChefer2021},
                                                     {"vit-explain", Preset::kVitExplain},
                                                     {"vit-explain-fixed", Preset::kVitExplainFixed}}};

}  // namespace

void AddComputationFlags(CLI::App& command, ComputationFlags& flags) {
  constexpr char kOptions[] = "Computation";
  command
      .add_option("--preset", flags.preset, "abnar (default), iclr, chefer, vit-explain or vit-explain-fixed")
      ->type_name("NAME")
      ->group(kOptions);
  command
      .add_option("--causal-correction", flags.causal_correction,
                  "Corrected rollout beside the plain one, in JSON: none, uniform-ratio or drop-first")
      ->type_name("NAME")
      ->check(CLI::IsMember({"none", "uniform-ratio", "drop-first"}))
      ->group(kOptions);
  command
      .add_option("--layer-idx", flags.layer_idx,
                  "Layer of the attention metrics; negative from the end. Default: -1")
      ->type_name("N")
      ->group(kOptions);
  command
      .add_option("--attention-layer-pattern", flags.attention_layer_pattern,
                  "Only layers whose module path matches")
      ->type_name("REGEX")
      ->group(kOptions);
  command
      .add_option("--residual-weight", flags.residual_weight, "Weight of the identity, 0 to 1. Default: 0.5")
      ->type_name("X")
      ->group(kOptions);
}

absl::StatusOr<Preset> ReadPreset(const std::string& text) {
  const std::string lower = absl::StrReplaceAll(absl::AsciiStrToLower(text), {{"_", "-"}});
  const absl::string_view name = absl::StripPrefix(lower, "preset-");
  for (const PresetSpelling& spelling : kPresets) {
    if (name == spelling.name) return spelling.preset;
  }
  return UsageError(absl::StrCat("No such preset: ", text,
                                 ". There are abnar, iclr, chefer, vit-explain, vit-explain-fixed."));
}

absl::StatusOr<AttributionOptions> ReadComputation(const ComputationFlags& flags) {
  AttributionOptions options;
  if (!flags.preset.empty()) {
    const absl::StatusOr<Preset> preset = ReadPreset(flags.preset);
    if (!preset.ok()) return preset.status();
    options.preset = *preset;
  }
  options.layer_idx = flags.layer_idx;
  options.attention_layer_pattern = flags.attention_layer_pattern;
  options.residual_weight = flags.residual_weight;
  if (flags.causal_correction == "uniform-ratio") {
    options.causal_correction = CausalCorrection::kUniformRatio;
  } else if (flags.causal_correction == "drop-first") {
    options.causal_correction = CausalCorrection::kDropFirst;
  }
  return options;
}

}  // namespace attribution::cli
