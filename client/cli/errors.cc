#include "client/cli/errors.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "attribution/client.h"
#include "attribution/status_details.h"
#include "client/cli/display_width.h"

namespace attribution::cli {
namespace {

constexpr char kUsageReason[] = "USAGE";

// Says what to try, where the server's sentence cannot know it.
std::string Hint(const absl::Status& status) {
  if (ExitCodeOf(status) == kExitUsage) return "See attribution --help.";
  if (ExitCodeOf(status) == kExitCannotConnect) {
    return "Start one with attribution-server, or name one with --server HOST:PORT or ATTRIBUTION_SERVER.";
  }
  if (const std::optional<absl::Duration> delay = RetryDelayOf(status)) {
    return absl::StrCat("The server asks to try again in ", absl::FormatDuration(*delay), ".");
  }
  switch (status.code()) {
    case absl::StatusCode::kUnauthenticated:
      return "Give a bearer token with --token-file FILE.";
    case absl::StatusCode::kDeadlineExceeded:
      return "Give it more time with --timeout, or ask for less.";
    default:
      return "";
  }
}

}  // namespace

absl::Status UsageError(const std::string& message) {
  return WithReason(absl::InvalidArgumentError(message), kUsageReason);
}

ExitCode ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return kExitOk;
  const std::optional<std::string> reason = ReasonOf(status);
  if (reason == kUsageReason) return kExitUsage;
  if (reason == kCannotConnectReason) return kExitCannotConnect;
  return kExitRefused;
}

std::string ErrorText(const absl::Status& status) {
  std::string text = absl::StrCat("error: ", Printable(std::string(status.message())), "\n");
  const std::optional<std::string> field = FieldOf(status);
  if (field.has_value()) absl::StrAppend(&text, "  field: ", Printable(*field), "\n");
  if (ExitCodeOf(status) == kExitRefused) {
    const std::optional<std::string> reason = ReasonOf(status);
    absl::StrAppend(&text, "  code: ", absl::StatusCodeToString(status.code()),
                    reason.has_value() ? absl::StrCat(", ", Printable(*reason)) : "", "\n");
  }
  const std::string hint = Hint(status);
  if (!hint.empty()) absl::StrAppend(&text, "  hint: ", hint, "\n");
  return text;
}

}  // namespace attribution::cli
