// `attribution`: asks an attribution server from the command line. docs/cli.md is its reference.

#include <CLI/CLI.hpp>
#include <iostream>

#include "absl/status/status.h"
#include "client/cli/commands.h"
#include "client/cli/errors.h"

namespace {

constexpr char kExamples[] = R"(Examples:
  attribution query --text "The cat sat on the mat."
  attribution estimate minilm --batch 8 --length 512
  attribution rollout attention.npy
  attribution models list
  attribution health --wait 60s
  attribution bench minilm --shapes 1x16 --clients 8 --duration 10s
Exit codes: 0 ok, 2 usage, 3 the server said no, 4 cannot connect.
`attribution COMMAND --help` tells more.)";

}  // namespace

int main(int argc, char** argv) {
  namespace cli = attribution::cli;
  CLI::App app("Attention attribution: asks a server for attention rollout and its metrics.", "attribution");
  absl::Status status;
  app.require_subcommand(1);
  app.footer(kExamples);
  cli::AddQueryCommand(app, status);
  cli::AddEstimateCommand(app, status);
  cli::AddRolloutCommand(app, status);
  cli::AddModelsCommand(app, status);
  cli::AddHealthCommand(app, status);
  cli::AddBenchCommand(app, status);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? cli::kExitOk : cli::kExitUsage;
  }
  if (!status.ok()) std::cerr << cli::ErrorText(status);
  return cli::ExitCodeOf(status);
}
