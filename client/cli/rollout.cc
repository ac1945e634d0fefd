#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attribution/client.h"
#include "client/cli/attention_files.h"
#include "client/cli/commands.h"
#include "client/cli/computation_flags.h"
#include "client/cli/flags.h"
#include "client/cli/progress.h"
#include "client/cli/reply.h"
#include "client/cli/result_flags.h"

namespace attribution::cli {
namespace {

constexpr char kExamples[] = R"(Examples:
  attribution rollout attention.npy
  attribution rollout layer0.npy layer1.npy layer2.npy --mask mask.npy
  attribution rollout fused.npy --layers-first --rows first --format json
  attribution rollout attention.npy --preset iclr --html rollout.html
One file of [L, B, H, S, S] holds every layer; else each file is one layer, [B, H, S, S], or, heads already
fused, [B, S, S] or [S, S]. Elements are float32 or float16.)";

struct RolloutFlags {
  std::vector<std::string> files;
  bool layers_first = false;
  std::string mask;
  ComputationFlags computation;
  ResultFlags result;
};

absl::Status Run(const RolloutFlags& flags, const CommonFlags& common) {
  RolloutRequest request;
  absl::StatusOr<AttributionOptions> options = ReadComputation(flags.computation);
  if (!options.ok()) return options.status();
  request.options = *std::move(options);
  absl::StatusOr<OutputSelection> output = ReadResult(flags.result);
  if (!output.ok()) return output.status();
  request.output = *std::move(output);
  absl::StatusOr<AttentionFiles> files = AttentionFiles::Open(flags.files, flags.layers_first);
  if (!files.ok()) return files.status();
  request.header = files->header();
  if (!flags.mask.empty()) {
    absl::StatusOr<std::vector<std::vector<int32_t>>> masks = ReadMasks(flags.mask, request.header);
    if (!masks.ok()) return masks.status();
    request.header.masks = *std::move(masks);
  }
  const absl::StatusOr<std::unique_ptr<Client>> client = ConnectWith(common);
  if (!client.ok()) return client.status();

  Reply reply;
  Progress progress(ProgressStyle(flags.result.progress), std::cerr);
  absl::Status collected;
  absl::Status status = (*client)->Rollout(
      request, [&files](int32_t layer) { return files->Layer(layer); },
      [&](const Event& event) {
        progress.Show(event);
        if (collected.ok()) collected = Collect(event, reply);
      });
  progress.Finish();
  if (!status.ok()) return status;
  if (!collected.ok()) return collected;
  return WriteReply(reply, flags.result, common);
}

}  // namespace

void AddRolloutCommand(CLI::App& app, absl::Status& status) {
  auto flags = std::make_shared<RolloutFlags>();
  auto common = std::make_shared<CommonFlags>();
  CLI::App* command = app.add_subcommand("rollout", "Roll out attention that you have, from numpy files");
  command->add_option("files", flags->files, "Attention: one file, or one for each layer")
      ->required()
      ->type_name("FILE.npy");
  command->add_flag("--layers-first", flags->layers_first,
                    "The first dimension of the file is the layer: [L, B, S, S] or [L, S, S]");
  command->add_option("--mask", flags->mask, "Valid positions, [B, S] of 0 and 1. Default: all")
      ->type_name("FILE.npy");
  AddComputationFlags(*command, flags->computation);
  AddResultFlags(*command, flags->result);
  AddCommonFlags(*command, *common);
  command->footer(kExamples);
  command->callback([flags, common, &status] { status = Run(*flags, *common); });
}

}  // namespace attribution::cli
