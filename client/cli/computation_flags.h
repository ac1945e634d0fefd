// The flags that say what is computed: those of AttributionOptions that every command has.
#ifndef ATTRIBUTION_CLIENT_CLI_COMPUTATION_FLAGS_H_
#define ATTRIBUTION_CLIENT_CLI_COMPUTATION_FLAGS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "attribution/options.h"

namespace attribution::cli {

struct ComputationFlags {
  std::string preset;
  std::string causal_correction = "none";
  std::optional<int32_t> layer_idx;
  std::string attention_layer_pattern;
  std::optional<double> residual_weight;
};

// Adds the flags to the command. `flags` outlives `command`.
void AddComputationFlags(CLI::App& command, ComputationFlags& flags);

// Reads a preset as the contract names it, in any case, with `-` or `_`, with or without `PRESET_` and year:
// `abnar`, `ICLR_METRICS`, `vit-explain-fixed`. Usage error otherwise.
absl::StatusOr<Preset> ReadPreset(const std::string& text);

// Makes the options. Usage error for a preset that there is not; ranges are the server's business.
absl::StatusOr<AttributionOptions> ReadComputation(const ComputationFlags& flags);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_COMPUTATION_FLAGS_H_
