// The flags of `attribution query`, and the request they make.
#ifndef ATTRIBUTION_CLIENT_CLI_QUERY_FLAGS_H_
#define ATTRIBUTION_CLIENT_CLI_QUERY_FLAGS_H_

#include <CLI/CLI.hpp>
#include <istream>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "attribution/request.h"

namespace attribution::cli {

struct QueryFlags {
  std::string model;
  std::vector<std::string> texts;
  std::vector<std::string> ids;
  std::vector<std::string> tensors;  // NAME=FILE.npy each
  std::string file;
  bool truncate = false;
  std::string preset;
  std::string causal_correction = "none";
  std::optional<int32_t> layer_idx;
  std::string attention_layer_pattern;
  std::optional<double> residual_weight;
  std::string rows = "all";
  int32_t top_k = 0;
  bool no_matrix = false;
  bool skip_rollout_metrics = false;
  std::string html;
  std::string npy;
  std::string progress = "auto";
};

// Adds the flags to the command. `flags` outlives `command`.
void AddQueryFlags(CLI::App& command, QueryFlags& flags);

// Reads a preset as the contract names it, in any case, with `-` or `_`, with or without `PRESET_` and year:
// `abnar`, `ICLR_METRICS`, `vit-explain-fixed`. Usage error otherwise.
absl::StatusOr<Preset> ReadPreset(const std::string& text);

// Reads `all`, `first`, `last`, or row numbers separated by commas. Usage error otherwise.
absl::StatusOr<RowSelection> ReadRows(const std::string& text);

// Makes the request; the model stays empty if the flags name none. Texts come from `input`, one a line, empty
// lines left out, if the flags hold neither texts nor ids nor tensors nor a file. Usage error for flags that
// do not go together, or no input.
absl::StatusOr<AttributionRequest> MakeRequest(const QueryFlags& flags, std::istream& input);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_QUERY_FLAGS_H_
