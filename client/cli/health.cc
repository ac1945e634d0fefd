#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "attribution/client.h"
#include "client/cli/commands.h"
#include "client/cli/display_width.h"
#include "client/cli/errors.h"
#include "client/cli/flags.h"
#include "client/cli/json_output.h"

namespace attribution::cli {
namespace {

constexpr char kExamples[] = R"(Examples:
  attribution health
  attribution health --wait 60s
  attribution health --service model/minilm --wait 60s && echo ready
Exit code 0 if the service is SERVING, 3 if it is not, 4 if no server answers.)";

constexpr absl::Duration kPause = absl::Milliseconds(100);

std::string HealthName(HealthState state) {
  switch (state) {
    case HealthState::kServing:
      return "SERVING";
    case HealthState::kNotServing:
      return "NOT_SERVING";
    case HealthState::kUnknown:
      break;
  }
  return "UNKNOWN";
}

// Asks once.
absl::StatusOr<HealthState> Check(const CommonFlags& common, const std::string& service) {
  const absl::StatusOr<std::unique_ptr<Client>> client = ConnectWith(common);
  if (!client.ok()) return client.status();
  return (*client)->CheckHealth(service);
}

absl::Status Run(const CommonFlags& common, const std::string& service, const std::string& wait) {
  absl::Duration patience = absl::ZeroDuration();
  if (!wait.empty()) {
    const absl::StatusOr<absl::Duration> read = ReadDuration("--wait", wait);
    if (!read.ok()) return read.status();
    patience = *read;
  }
  const absl::Time end = absl::Now() + patience;
  absl::StatusOr<HealthState> state = Check(common, service);
  while ((!state.ok() || *state != HealthState::kServing) && ExitCodeOf(state.status()) != kExitUsage &&
         absl::Now() < end) {
    absl::SleepFor(kPause);
    state = Check(common, service);
  }
  if (!state.ok()) return state.status();

  const std::string name = HealthName(*state);
  const std::string subject = service.empty() ? "server" : Printable(service);
  std::cout << (common.json() ? JsonOfHealth(service, name) : absl::StrCat(subject, ": ", name, "\n"))
            << std::flush;
  if (*state == HealthState::kServing) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("Not serving: ", subject, " is ", name,
                                                    ". Wait with --wait, or see attribution models list."));
}

}  // namespace

void AddHealthCommand(CLI::App& app, absl::Status& status) {
  auto common = std::make_shared<CommonFlags>();
  auto service = std::make_shared<std::string>();
  auto wait = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("health", "Tell whether the server, or one of its services, takes requests");
  command
      ->add_option("--service", *service,
                   "Service to ask for, such as model/minilm. Default: the whole server")
      ->type_name("NAME");
  command->add_option("--wait", *wait, "Wait up to this long for SERVING, such as 60s")->type_name("TIME");
  AddCommonFlags(*command, *common);
  command->footer(kExamples);
  command->callback([common, service, wait, &status] { status = Run(*common, *service, *wait); });
}

}  // namespace attribution::cli
