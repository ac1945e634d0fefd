#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "attribution/client.h"
#include "client/cli/commands.h"
#include "client/cli/computation_flags.h"
#include "client/cli/errors.h"
#include "client/cli/flags.h"
#include "client/cli/load_generator.h"
#include "client/cli/load_report.h"
#include "client/cli/load_shapes.h"
#include "client/cli/model_choice.h"
#include "client/cli/result_flags.h"

namespace attribution::cli {
namespace {

constexpr char kExamples[] = R"(Examples:
  attribution bench minilm --shapes 1x16 --clients 32 --no-matrix
  attribution bench minilm --shapes 1x16:9,8x128 --rate 50 --duration 60s
  attribution bench minilm --text "The cat sat on the mat." --clients 4 --format json
With --clients each sends its next request when its last has ended; with --rate requests arrive at random
times, whether or not others have ended, and latency counts from their arrival. A request that the server
refuses counts as refused and is not repeated, unless --retry is given.
Exit code 0 if a request succeeded; else that of the first error.)";

struct BenchFlags {
  std::string model;
  std::string shapes = "1x128";
  std::vector<std::string> texts;
  int32_t clients = 0;
  double rate = 0;
  std::string duration = "10s";
  std::string warm_up = "1s";
  uint64_t seed = 1;
  bool retry = false;
  ComputationFlags computation;
  OutputFlags output;
};

// Makes the plan, all but what the model decides.
absl::StatusOr<LoadPlan> MakePlan(const BenchFlags& flags) {
  LoadPlan plan;
  absl::StatusOr<AttributionOptions> options = ReadComputation(flags.computation);
  if (!options.ok()) return options.status();
  plan.request.options = *std::move(options);
  absl::StatusOr<OutputSelection> output = ReadOutput(flags.output);
  if (!output.ok()) return output.status();
  plan.request.output = *std::move(output);
  const ModelName model = SplitModel(flags.model);
  plan.request.model = model.name;
  plan.request.model_version = model.version;
  if (flags.texts.empty()) {
    absl::StatusOr<std::vector<LoadShape>> shapes = ReadShapes(flags.shapes);
    if (!shapes.ok()) return shapes.status();
    plan.shapes = *std::move(shapes);
  } else {
    plan.request.input = TextBatch{.texts = flags.texts};
  }
  const absl::StatusOr<absl::Duration> duration = ReadDuration("--duration", flags.duration);
  if (!duration.ok()) return duration.status();
  plan.duration = *duration;
  const absl::StatusOr<absl::Duration> warm_up = ReadDuration("--warm-up", flags.warm_up);
  if (!warm_up.ok()) return warm_up.status();
  plan.warm_up = *warm_up;
  if (flags.rate > 0) {
    plan.clients = 0;
    plan.rate = flags.rate;
  } else {
    plan.clients = flags.clients > 0 ? flags.clients : 1;
  }
  plan.seed = flags.seed;
  return plan;
}

// Asks the model for its vocabulary, and whether the shapes are for it.
absl::Status FitToModel(Client& client, LoadPlan& plan) {
  if (plan.shapes.empty()) return absl::OkStatus();
  const absl::StatusOr<ModelInfo> model = client.GetModel(plan.request.model, plan.request.model_version);
  if (!model.ok()) return model.status();
  if (model->vocabulary_size <= 0) {
    return UsageError(absl::StrCat("The model has no vocabulary to draw ids from: ", model->name,
                                   ". Give --text, or bench a model of tokens."));
  }
  plan.vocabulary = model->vocabulary_size;
  for (const LoadShape& shape : plan.shapes) {
    if (model->max_sequence_length == 0 || shape.length <= model->max_sequence_length) continue;
    return UsageError(absl::StrCat("A shape is too long for the model: ", shape.Name(), ". ", model->name,
                                   " takes at most ", model->max_sequence_length, " tokens."));
  }
  return absl::OkStatus();
}

absl::Status Run(const BenchFlags& flags, const CommonFlags& common) {
  absl::StatusOr<LoadPlan> plan = MakePlan(flags);
  if (!plan.ok()) return plan.status();
  const absl::StatusOr<std::unique_ptr<Client>> client = ConnectWith(common, flags.retry);
  if (!client.ok()) return client.status();
  if (plan->request.model.empty()) {
    absl::StatusOr<std::string> model = OnlyModel(**client);
    if (!model.ok()) return model.status();
    plan->request.model = *std::move(model);
  }
  if (absl::Status status = FitToModel(**client, *plan); !status.ok()) return status;
  const LoadReport report = RunLoad(**client, *plan);
  std::cout << (common.json() ? LoadJson(report) : LoadText(report, OutputTerminal(common).width))
            << std::flush;
  if (report.all.requests == 0)
    return UsageError("No request was due in the measured time. Give a longer --duration.");
  return report.all.succeeded > 0 ? absl::OkStatus() : report.first_error;
}

}  // namespace

void AddBenchCommand(CLI::App& app, absl::Status& status) {
  auto flags = std::make_shared<BenchFlags>();
  auto common = std::make_shared<CommonFlags>();
  CLI::App* command =
      app.add_subcommand("bench", "Put load on the server and measure throughput and latency");
  command
      ->add_option("model,--model", flags->model,
                   "Model, name or name:version. Default: the only one the server has")
      ->type_name("NAME");
  constexpr char kLoad[] = "Load";
  CLI::Option* shapes =
      command
          ->add_option(
              "--shapes", flags->shapes,
              "Requests of random ids: batch x length, and after a colon how often, such as 1x16:9,8x128")
          ->type_name("SHAPES")
          ->capture_default_str()
          ->group(kLoad);
  command->add_option("--text", flags->texts, "Text that every request holds; repeat for more")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->excludes(shapes)
      ->group(kLoad);
  CLI::Option* clients =
      command
          ->add_option("--clients", flags->clients,
                       "Closed loop: so many clients, each with one request at a time. Default: 1")
          ->type_name("N")
          ->check(CLI::Range(1, 100000))
          ->group(kLoad);
  command->add_option("--rate", flags->rate, "Open loop: so many requests a second, at random times")
      ->type_name("R")
      ->check(CLI::PositiveNumber)
      ->excludes(clients)
      ->group(kLoad);
  command->add_option("--duration", flags->duration, "How long to measure")
      ->type_name("TIME")
      ->capture_default_str()
      ->group(kLoad);
  command->add_option("--warm-up", flags->warm_up, "How long to send before that, unmeasured")
      ->type_name("TIME")
      ->capture_default_str()
      ->group(kLoad);
  command->add_option("--seed", flags->seed, "Seed of ids, shapes and arrivals")
      ->type_name("N")
      ->capture_default_str()
      ->group(kLoad);
  command->add_flag("--retry", flags->retry, "Repeat what the server refuses for now, as other commands do")
      ->group(kLoad);
  AddComputationFlags(*command, flags->computation);
  AddOutputFlags(*command, flags->output);
  AddCommonFlags(*command, *common);
  command->footer(kExamples);
  command->callback([flags, common, &status] { status = Run(*flags, *common); });
}

}  // namespace attribution::cli
