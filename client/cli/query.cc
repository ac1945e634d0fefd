#include <unistd.h>

#include <iostream>
#include <memory>
#include <utility>

#include "attribution/client.h"
#include "client/cli/commands.h"
#include "client/cli/flags.h"
#include "client/cli/model_choice.h"
#include "client/cli/progress.h"
#include "client/cli/query_flags.h"
#include "client/cli/reply.h"
#include "client/cli/result_flags.h"

namespace attribution::cli {
namespace {

constexpr char kExamples[] = R"(Examples:
  attribution query --text "The cat sat on the mat."
  attribution query minilm --text "One." --text "Two." --html rollout.html
  attribution query --preset iclr --residual-weight 0.2 --file sentences.txt --format json
  attribution query minilm --ids 101,1996,4937,102 --preset iclr
  attribution query --text "The cat sat on the mat." --rows first --top-k 5
  attribution query vit --tensor pixel_values=image.npy --rows first)";

// Runs the request and gathers its reply, showing progress.
absl::Status Ask(Client& client, const AttributionRequest& request, Progress::Style style, Reply& reply) {
  Progress progress(style, std::cerr);
  absl::Status collected;
  const absl::Status status = client.Attribute(request, [&](const Event& event) {
    progress.Show(event);
    if (collected.ok()) collected = Collect(event, reply);
  });
  progress.Finish();
  return status.ok() ? collected : status;
}

absl::Status Run(const QueryFlags& flags, const CommonFlags& common) {
  if (flags.texts.empty() && flags.ids.empty() && flags.tensors.empty() &&
      (flags.file.empty() || flags.file == "-") && isatty(STDIN_FILENO) == 1) {
    std::cerr << "Reading texts from standard input, one a line; Ctrl-D ends.\n";
  }
  absl::StatusOr<AttributionRequest> request = MakeRequest(flags, std::cin);
  if (!request.ok()) return request.status();
  absl::StatusOr<std::unique_ptr<Client>> client = ConnectWith(common);
  if (!client.ok()) return client.status();
  if (request->model.empty()) {
    absl::StatusOr<std::string> model = OnlyModel(**client);
    if (!model.ok()) return model.status();
    request->model = *std::move(model);
  }

  Reply reply;
  reply.model = request->model;
  if (const auto* texts = std::get_if<TextBatch>(&request->input)) reply.texts = texts->texts;
  if (absl::Status status = Ask(**client, *request, ProgressStyle(flags.result.progress), reply);
      !status.ok())
    return status;

  return WriteReply(reply, flags.result, common);
}

}  // namespace

void AddQueryCommand(CLI::App& app, absl::Status& status) {
  auto flags = std::make_shared<QueryFlags>();
  auto common = std::make_shared<CommonFlags>();
  CLI::App* command =
      app.add_subcommand("query", "Attribute texts, token ids or tensors and show metrics and rollout");
  AddQueryFlags(*command, *flags);
  AddCommonFlags(*command, *common);
  command->footer(kExamples);
  command->callback([flags, common, &status] { status = Run(*flags, *common); });
}

}  // namespace attribution::cli
