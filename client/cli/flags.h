// Flags that every command has, and how flags with units are read.
#ifndef ATTRIBUTION_CLIENT_CLI_FLAGS_H_
#define ATTRIBUTION_CLIENT_CLI_FLAGS_H_

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "attribution/client.h"
#include "client/cli/terminal.h"

namespace attribution::cli {

struct CommonFlags {
  std::string server;
  std::string token_file;
  bool tls = false;
  std::string tls_ca;
  std::string tls_cert;
  std::string tls_key;
  std::string timeout;
  std::string format = "table";
  std::string color = "auto";

  bool json() const { return format == "json"; }
};

// Adds the common flags to a command. `flags` outlives `command`.
void AddCommonFlags(CLI::App& command, CommonFlags& flags);

// Reads a duration such as `500ms`, `1m30s`, or a number of seconds. Usage error if negative or not a
// duration.
absl::StatusOr<absl::Duration> ReadDuration(const std::string& flag, const std::string& text);

// Connects to the server of the flags; without `retry` every call is sent once.
absl::StatusOr<std::unique_ptr<Client>> ConnectWith(const CommonFlags& flags, bool retry = true);

// What standard output can show, under the flags.
Terminal OutputTerminal(const CommonFlags& flags);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_FLAGS_H_
