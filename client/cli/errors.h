// How a command ends: its exit code, and what it says when it failed.
#ifndef ATTRIBUTION_CLIENT_CLI_ERRORS_H_
#define ATTRIBUTION_CLIENT_CLI_ERRORS_H_

#include <string>

#include "absl/status/status.h"

namespace attribution::cli {

// Exit codes that scripts rely on.
enum ExitCode { kExitOk = 0, kExitUsage = 2, kExitRefused = 3, kExitCannotConnect = 4 };

// Makes an error about how the program was called: exit code 2.
absl::Status UsageError(const std::string& message);

// Returns the exit code of a status: kExitRefused for every error that came from a server.
ExitCode ExitCodeOf(const absl::Status& status);

// Returns what to print on standard error: `error: ` and the sentence, then the field and code, then what to
// try. REQUIRES: !status.ok().
std::string ErrorText(const absl::Status& status);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_ERRORS_H_
