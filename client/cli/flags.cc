#include "client/cli/flags.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/errors.h"

namespace attribution::cli {
namespace {

std::string DefaultServer() {
  const char* server = std::getenv("ATTRIBUTION_SERVER");
  return server == nullptr || *server == '\0' ? ClientOptions().target : server;
}

}  // namespace

void AddCommonFlags(CLI::App& command, CommonFlags& flags) {
  flags.server = DefaultServer();
  constexpr char kGroup[] = "Connection and output";
  command
      .add_option("--server", flags.server,
                  "Server, host:port or a gRPC target. Environment: ATTRIBUTION_SERVER")
      ->type_name("TARGET")
      ->capture_default_str()
      ->group(kGroup);
  command.add_option("--token-file", flags.token_file, "File whose first line is a bearer token")
      ->type_name("FILE")
      ->group(kGroup);
  command.add_flag("--tls", flags.tls, "Encrypt, and check the server by the system's authorities")
      ->group(kGroup);
  command.add_option("--tls-ca", flags.tls_ca, "Encrypt, and check the server by these authorities, PEM")
      ->type_name("FILE")
      ->group(kGroup);
  command.add_option("--tls-cert", flags.tls_cert, "Certificate of this client, PEM; needs --tls-key")
      ->type_name("FILE")
      ->group(kGroup);
  command.add_option("--tls-key", flags.tls_key, "Key of the certificate, PEM")
      ->type_name("FILE")
      ->group(kGroup);
  command
      .add_option("--timeout", flags.timeout,
                  "Longest time for a call, such as 30s or 500ms. Default: no limit")
      ->type_name("TIME")
      ->group(kGroup);
  command.add_option("--format", flags.format, "What to print")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str()
      ->group(kGroup);
  command
      .add_option("--color", flags.color,
                  "When to use colours. Automatic: on a terminal, unless NO_COLOR is set")
      ->type_name("WHEN")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str()
      ->group(kGroup);
}

absl::StatusOr<absl::Duration> ReadDuration(const std::string& flag, const std::string& text) {
  double seconds = 0;
  absl::Duration duration;
  if (absl::SimpleAtod(text, &seconds) && std::isfinite(seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration)) {
    return UsageError(
        absl::StrCat("Not a duration: ", flag, " ", text, ". Write 30s, 500ms or a number of seconds."));
  }
  if (duration < absl::ZeroDuration())
    return UsageError(absl::StrCat("A negative duration: ", flag, " ", text, "."));
  return duration;
}

absl::StatusOr<std::unique_ptr<Client>> ConnectWith(const CommonFlags& flags, bool retry) {
  ClientOptions options;
  options.target = flags.server;
  options.token_file = flags.token_file;
  options.tls = flags.tls;
  options.tls_ca_file = flags.tls_ca;
  options.tls_cert_file = flags.tls_cert;
  options.tls_key_file = flags.tls_key;
  options.retry = retry;
  if (!flags.timeout.empty()) {
    const absl::StatusOr<absl::Duration> timeout = ReadDuration("--timeout", flags.timeout);
    if (!timeout.ok()) return timeout.status();
    options.timeout = *timeout;
    options.connect_timeout = std::min(options.connect_timeout, *timeout);
  }
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(options);
  // Every other error of Connect is about a file that the flags name.
  if (!client.ok() && ExitCodeOf(client.status()) != kExitCannotConnect) {
    return UsageError(std::string(client.status().message()));
  }
  return client;
}

Terminal OutputTerminal(const CommonFlags& flags) {
  const ColorMode mode = flags.color == "always"  ? ColorMode::kAlways
                         : flags.color == "never" ? ColorMode::kNever
                                                  : ColorMode::kAuto;
  return DecideTerminal(FactsOf(STDOUT_FILENO), mode);
}

}  // namespace attribution::cli
