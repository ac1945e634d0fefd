#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "attribution/client.h"
#include "client/cli/commands.h"
#include "client/cli/computation_flags.h"
#include "client/cli/display_width.h"
#include "client/cli/flags.h"
#include "client/cli/format.h"
#include "client/cli/json_output.h"
#include "client/cli/model_choice.h"
#include "client/cli/result_flags.h"

namespace attribution::cli {
namespace {

constexpr char kExamples[] = R"(Examples:
  attribution estimate minilm --batch 8 --length 512
  attribution estimate minilm --length 512 --rows first --skip-rollout-metrics
  attribution estimate minilm --batch 64 --length 512 --format json | jq .ever_fits
Exit code 0 whatever the answer is; 3 if the server does not know.)";

struct EstimateFlags {
  std::string model;
  int32_t batch = 1;
  int32_t length = 0;
  ComputationFlags computation;
  OutputFlags output;
};

absl::StatusOr<EstimateRequest> MakeRequest(const EstimateFlags& flags) {
  absl::StatusOr<AttributionOptions> options = ReadComputation(flags.computation);
  if (!options.ok()) return options.status();
  absl::StatusOr<OutputSelection> output = ReadOutput(flags.output);
  if (!output.ok()) return output.status();
  EstimateRequest request;
  const ModelName model = SplitModel(flags.model);
  request.model = model.name;
  request.model_version = model.version;
  request.batch_size = flags.batch;
  request.seq_length = flags.length;
  request.options = *std::move(options);
  request.output = *std::move(output);
  return request;
}

std::string EstimateText(const EstimateRequest& request, const AdmissionEstimate& estimate) {
  const std::string verdict = estimate.fits_now    ? "yes, it would start at once"
                              : estimate.ever_fits ? "not now: it would wait for memory or a worker"
                                                   : "never: it needs more than the whole memory budget";
  std::string text = absl::StrFormat("%s, %d sequence(s) of %d\n", Printable(request.model),
                                     request.batch_size, request.seq_length);
  const auto line = [&text](const char* name, const std::string& value) {
    absl::StrAppend(&text, FitLeft(name, 18), value, "\n");
  };
  line("fits", verdict);
  line("peak memory", FormatBytes(estimate.estimated_peak_bytes));
  line("chunks", absl::StrFormat("%d of at most %d sequence(s)", estimate.num_chunks, estimate.chunk_size));
  line("longest that fits", absl::StrCat(estimate.max_seq_length_that_fits));
  line("expected wait", FormatSeconds(estimate.expected_wait_seconds));
  line("expected duration", FormatSeconds(estimate.expected_duration_seconds));
  return text;
}

absl::Status Run(const EstimateFlags& flags, const CommonFlags& common) {
  absl::StatusOr<EstimateRequest> request = MakeRequest(flags);
  if (!request.ok()) return request.status();
  const absl::StatusOr<std::unique_ptr<Client>> client = ConnectWith(common);
  if (!client.ok()) return client.status();
  if (request->model.empty()) {
    absl::StatusOr<std::string> model = OnlyModel(**client);
    if (!model.ok()) return model.status();
    request->model = *std::move(model);
  }
  const absl::StatusOr<AdmissionEstimate> estimate = (*client)->Estimate(*request);
  if (!estimate.ok()) return estimate.status();
  std::cout << (common.json() ? JsonOfEstimate(*request, *estimate) : EstimateText(*request, *estimate))
            << std::flush;
  return absl::OkStatus();
}

}  // namespace

void AddEstimateCommand(CLI::App& app, absl::Status& status) {
  auto flags = std::make_shared<EstimateFlags>();
  auto common = std::make_shared<CommonFlags>();
  CLI::App* command = app.add_subcommand(
      "estimate", "Tell how much memory and time a query would take, and whether it fits; runs nothing");
  command
      ->add_option("model,--model", flags->model,
                   "Model, name or name:version. Default: the only one the server has")
      ->type_name("NAME");
  command->add_option("--batch", flags->batch, "Number of sequences")->type_name("N")->capture_default_str();
  command->add_option("--length", flags->length, "Tokens of each sequence")->type_name("N")->required();
  AddComputationFlags(*command, flags->computation);
  AddOutputFlags(*command, flags->output);
  AddCommonFlags(*command, *common);
  command->footer(kExamples);
  command->callback([flags, common, &status] { status = Run(*flags, *common); });
}

}  // namespace attribution::cli
