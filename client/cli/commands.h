// The commands of the program. Each adds itself with its flags and help, and when chosen runs and leaves its
// status.
#ifndef ATTRIBUTION_CLIENT_CLI_COMMANDS_H_
#define ATTRIBUTION_CLIENT_CLI_COMMANDS_H_

#include <CLI/CLI.hpp>

#include "absl/status/status.h"

namespace attribution::cli {

// `status` outlives `app`; output goes to standard output, progress to standard error.
void AddQueryCommand(CLI::App& app, absl::Status& status);
void AddEstimateCommand(CLI::App& app, absl::Status& status);
void AddRolloutCommand(CLI::App& app, absl::Status& status);
void AddModelsCommand(CLI::App& app, absl::Status& status);
void AddHealthCommand(CLI::App& app, absl::Status& status);
void AddBenchCommand(CLI::App& app, absl::Status& status);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_COMMANDS_H_
