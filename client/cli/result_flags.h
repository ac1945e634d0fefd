// The flags that say what a reply holds and where it goes, and the writing of it.
#ifndef ATTRIBUTION_CLIENT_CLI_RESULT_FLAGS_H_
#define ATTRIBUTION_CLIENT_CLI_RESULT_FLAGS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "attribution/options.h"
#include "client/cli/flags.h"
#include "client/cli/reply.h"

namespace attribution::cli {

// What a reply holds.
struct OutputFlags {
  std::string rows = "all";
  int32_t top_k = 0;
  bool no_matrix = false;
  bool skip_rollout_metrics = false;
};

// The same, and where it goes.
struct ResultFlags : OutputFlags {
  std::string html;
  std::string npy;
  std::string progress = "auto";
};

// Add the flags to the command. `flags` outlives `command`.
void AddOutputFlags(CLI::App& command, OutputFlags& flags);
void AddResultFlags(CLI::App& command, ResultFlags& flags);

// Reads `all`, `first`, `last`, or row numbers separated by commas. Usage error otherwise.
absl::StatusOr<RowSelection> ReadRows(const std::string& text);

// Make the selection: layers always, the rollout unless nothing shows it. Usage error for rows of no matrix.
absl::StatusOr<OutputSelection> ReadOutput(const OutputFlags& flags);
absl::StatusOr<OutputSelection> ReadResult(const ResultFlags& flags);

// Prints the reply on standard output and writes the files that were asked for. Usage error for a file that
// cannot be written.
absl::Status WriteReply(const Reply& reply, const ResultFlags& flags, const CommonFlags& common);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_RESULT_FLAGS_H_
