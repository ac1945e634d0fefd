#include "tests/benchmark/contenders.h"

#include <iostream>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "server/telemetry/logging.h"
#include "tests/benchmark/cut_forward.h"
#include "tests/benchmark/folded_forward.h"
#include "tests/benchmark/in_process.h"
#include "tests/benchmark/mixed_load.h"
#include "tests/benchmark/plain_forward.h"

namespace attribution::benchmark {
namespace {

// As attribution-server sets it; main.cc has the reason.
[[maybe_unused]] constexpr char kNoDeepBinding[] = "TBB_ENABLE_SANITIZERS=1";

Command CommandOf(const Arguments& arguments, const std::string& contender) {
  Command command;
  command.arguments = {"contender",
                       "--contender",
                       contender,
                       "--repository",
                       arguments.repository,
                       "--model",
                       arguments.model,
                       "--workers",
                       absl::StrCat(arguments.workers),
                       "--threads",
                       absl::StrCat(arguments.threads)};
#ifdef ATTRIBUTION_ALLOCATOR
  command.environment = {"LD_PRELOAD=" ATTRIBUTION_ALLOCATOR, kNoDeepBinding};
#endif
  return command;
}

// The model that the benchmark tells on standard input.
ModelFacts ReadModel() {
  std::string line;
  std::getline(std::cin, line);
  return ModelFactsOf(line);
}

}  // namespace

std::unique_ptr<ChildContender> StartEngine(const Arguments& arguments) {
  return std::make_unique<ChildContender>("engine", CommandOf(arguments, "engine"));
}

std::unique_ptr<ChildContender> StartLastRow(const Arguments& arguments) {
  return std::make_unique<ChildContender>("last row", CommandOf(arguments, "last-row"));
}

std::unique_ptr<ChildContender> StartEveryRow(const Arguments& arguments) {
  return std::make_unique<ChildContender>("every row", CommandOf(arguments, "every-row"));
}

std::unique_ptr<ChildContender> StartPlain(const Arguments& arguments, const ModelFacts& model) {
  return std::make_unique<ChildContender>("plain forward", CommandOf(arguments, "plain"), model);
}

std::unique_ptr<ChildContender> StartCut(const Arguments& arguments, const ModelFacts& model) {
  return std::make_unique<ChildContender>("cut forward", CommandOf(arguments, "cut"), model);
}

std::unique_ptr<ChildContender> StartFolded(const Arguments& arguments, const ModelFacts& model,
                                            bool whole_rows) {
  const std::string name = whole_rows ? "folded-whole" : "folded";
  return std::make_unique<ChildContender>(name, CommandOf(arguments, name), model);
}

std::unique_ptr<ChildContender> StartNaive(const Arguments& arguments, const ModelFacts& model) {
  Command command;
  command.program = ATTRIBUTION_BENCH_PYTHON;
  command.arguments = {ATTRIBUTION_BENCH_NAIVE, "--folder", arguments.folder, "--threads",
                       absl::StrCat(arguments.threads)};
  return std::make_unique<ChildContender>("naive", command, model);
}

std::unique_ptr<ChildContender> StartMixedLoad(const Arguments& arguments, const std::string& name,
                                               const std::vector<std::string>& environment) {
  Command command = CommandOf(arguments, "mixed-load");
  command.environment = environment;
  return std::make_unique<ChildContender>(name, command);
}

void BeContender(const Arguments& arguments) {
  telemetry::SetUpLogging(telemetry::LogFormat::kText, telemetry::LogLevel::kWarning);
  if (arguments.contender == "engine" || arguments.contender == "mixed-load") {
    InProcess engine(arguments.repository, arguments.model, arguments.workers, arguments.threads);
    MixedLoad mixed_load(engine);
    std::cout << LineOf(engine.model()) << std::endl;
    AnswerRequests(arguments.contender == "engine" ? static_cast<Contender&>(engine) : mixed_load);
  } else if (arguments.contender == "last-row" || arguments.contender == "every-row") {
    const auto rows =
        arguments.contender == "last-row" ? RowSelection::Kind::kLastValid : RowSelection::Kind::kAll;
    InProcess engine(arguments.repository, arguments.model, arguments.workers, arguments.threads,
                     RolloutRows(rows));
    std::cout << LineOf(engine.model()) << std::endl;
    AnswerRequests(engine);
  } else if (arguments.contender == "plain") {
    PlainForward plain(arguments.repository, ReadModel(), arguments.threads);
    AnswerRequests(plain);
  } else if (arguments.contender == "cut") {
    CutForward cut(arguments.repository, ReadModel(), arguments.threads);
    AnswerRequests(cut);
  } else if (arguments.contender == "folded" || arguments.contender == "folded-whole") {
    FoldedForward folded(arguments.repository, ReadModel(), arguments.threads,
                         /*whole_rows=*/arguments.contender == "folded-whole");
    AnswerRequests(folded);
  } else {
    throw std::invalid_argument(absl::StrCat("There is no contender \"", arguments.contender, "\"."));
  }
}

}  // namespace attribution::benchmark
