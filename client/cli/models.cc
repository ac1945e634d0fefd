#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "attribution/client.h"
#include "attribution/dtype_names.h"
#include "client/cli/commands.h"
#include "client/cli/display_width.h"
#include "client/cli/flags.h"
#include "client/cli/format.h"
#include "client/cli/json_output.h"
#include "client/cli/table.h"

namespace attribution::cli {
namespace {

constexpr char kListExamples[] = R"(Examples:
  attribution models list
  attribution models list --format json | jq -r '.models[].name')";
constexpr char kShowExamples[] = R"(Examples:
  attribution models show minilm
  attribution models show minilm:1 --format json)";

constexpr char kLoadExamples[] = R"(Examples:
  attribution models load minilm
  attribution models load minilm:2 --unload-first)";
constexpr char kUnloadExamples[] = R"(Examples:
  attribution models unload minilm
  attribution models unload minilm:1)";

std::string OrDash(const std::string& value) { return value.empty() ? "-" : value; }

std::string Count(int64_t value) { return value == 0 ? "-" : absl::StrCat(value); }

std::string ListText(const std::vector<ModelInfo>& models, int width) {
  if (models.empty()) return "The server has no model. Put one into its model repository.\n";
  Table table({{"model"},
               {"version"},
               {"state", Table::Align::kLeft},
               {"device", Table::Align::kLeft},
               {"layers"},
               {"heads"},
               {"longest"},
               {"size"},
               {"text"}});
  for (const ModelInfo& model : models) {
    table.AddRow({model.name, model.version, StateName(model.state), model.device, Count(model.num_layers),
                  Count(model.num_heads), Count(model.max_sequence_length), FormatBytes(model.resident_bytes),
                  model.has_tokenizer ? "yes" : "no"});
  }
  std::string text = table.Render(width);
  for (const ModelInfo& model : models) {
    if (model.load_error.empty()) continue;
    absl::StrAppend(&text, "\n", Printable(model.name), " version ", Printable(model.version),
                    " did not load: ", Printable(model.load_error), "\n");
  }
  return text;
}

std::string Inputs(const ModelInfo& model) {
  std::vector<std::string> inputs;
  inputs.reserve(model.inputs.size());
  for (const ModelInput& input : model.inputs) {
    inputs.push_back(
        absl::StrCat(input.name, " ", DtypeName(input.dtype), " [", absl::StrJoin(input.shape, ", "), "]"));
  }
  return absl::StrJoin(inputs, "; ");
}

// Each reason once, in the order of the sites.
std::vector<std::string> TapReasons(const ModelInfo& model) {
  std::vector<std::string> reasons;
  for (const AttentionSite& site : model.sites) {
    if (site.kind == SiteKind::kBlocked || site.tap_reason.empty()) continue;
    if (std::find(reasons.begin(), reasons.end(), site.tap_reason) == reasons.end()) {
      reasons.push_back(site.tap_reason);
    }
  }
  return reasons;
}

std::string ShowText(const ModelInfo& model, int width) {
  std::string text;
  const auto line = [&text](const char* name, const std::string& value) {
    absl::StrAppend(&text, FitLeft(name, 18), Printable(value), "\n");
  };
  line("model", model.name);
  line("version", model.version);
  line("state", StateName(model.state));
  if (!model.load_error.empty()) line("load error", model.load_error);
  line("device", model.device);
  line("sha256", model.sha256);
  line("layers, heads", absl::StrCat(model.num_layers, ", ", model.num_heads));
  line("vocabulary", Count(model.vocabulary_size));
  line("longest sequence", Count(model.max_sequence_length));
  line("inputs", Inputs(model));
  if (model.patch_grid.has_value()) {
    const PatchGrid& grid = *model.patch_grid;
    line("patches", absl::StrCat(grid.rows, " x ", grid.columns, " from position ", grid.first_position));
  }
  line("takes text", model.has_tokenizer ? "yes" : "no");
  line("size", FormatBytes(model.resident_bytes));
  if (!model.sites.empty()) {
    Table table({{"site"},
                 {"runs"},
                 {"seen as", Table::Align::kLeft},
                 {"group", Table::Align::kLeft},
                 {"module", Table::Align::kLeft},
                 {"operator", Table::Align::kLeft},
                 {"source", Table::Align::kLeft}});
    for (const AttentionSite& site : model.sites) {
      table.AddRow({absl::StrCat(site.index), absl::StrCat(site.executions), SiteKindName(site.kind),
                    OrDash(site.group), site.module_path, site.operator_name, OrDash(site.source)});
    }
    absl::StrAppend(&text, "\nAttention sites\n", table.Render(width));
  }
  for (const std::string& reason : TapReasons(model)) {
    absl::StrAppend(&text, "Tapped because ", Printable(reason), ".\n");
  }
  if (!model.skipped.empty()) absl::StrAppend(&text, "\nNot used\n");
  for (const SkippedSite& site : model.skipped) {
    const std::string source = site.source.empty() ? "" : absl::StrCat(", ", site.source);
    absl::StrAppend(&text, "  ", Printable(site.name), Printable(source), ": ", Printable(site.reason), "\n");
  }
  return text;
}

absl::Status List(const CommonFlags& common) {
  const absl::StatusOr<std::unique_ptr<Client>> client = ConnectWith(common);
  if (!client.ok()) return client.status();
  const absl::StatusOr<std::vector<ModelInfo>> models = (*client)->ListModels();
  if (!models.ok()) return models.status();
  std::cout << (common.json() ? JsonOfModels(*models) : ListText(*models, OutputTerminal(common).width));
  return absl::OkStatus();
}

absl::Status Show(const CommonFlags& common, const std::string& name) {
  const absl::StatusOr<std::unique_ptr<Client>> client = ConnectWith(common);
  if (!client.ok()) return client.status();
  const std::pair<std::string, std::string> parts = absl::StrSplit(name, absl::MaxSplits(':', 1));
  const absl::StatusOr<ModelInfo> model = (*client)->GetModel(parts.first, parts.second);
  if (!model.ok()) return model.status();
  std::cout << (common.json() ? JsonOfModel(*model) : ShowText(*model, OutputTerminal(common).width));
  return absl::OkStatus();
}

absl::Status Load(const CommonFlags& common, const std::string& name, LoadModelOptions options) {
  const absl::StatusOr<std::unique_ptr<Client>> client = ConnectWith(common);
  if (!client.ok()) return client.status();
  const std::pair<std::string, std::string> parts = absl::StrSplit(name, absl::MaxSplits(':', 1));
  const absl::StatusOr<ModelInfo> model = (*client)->LoadModel(parts.first, parts.second, options);
  if (!model.ok()) return model.status();
  std::cout << (common.json() ? JsonOfModel(*model) : ShowText(*model, OutputTerminal(common).width));
  return absl::OkStatus();
}

absl::Status Unload(const CommonFlags& common, const std::string& name) {
  const absl::StatusOr<std::unique_ptr<Client>> client = ConnectWith(common);
  if (!client.ok()) return client.status();
  const std::pair<std::string, std::string> parts = absl::StrSplit(name, absl::MaxSplits(':', 1));
  return (*client)->UnloadModel(parts.first, parts.second);
}

}  // namespace

void AddModelsCommand(CLI::App& app, absl::Status& status) {
  CLI::App* models =
      app.add_subcommand("models", "Tell about the models of the server, load and unload them");
  models->require_subcommand(1);
  auto common = std::make_shared<CommonFlags>();
  CLI::App* list = models->add_subcommand("list", "List every version of every model");
  AddCommonFlags(*list, *common);
  list->footer(kListExamples);
  list->callback([common, &status] { status = List(*common); });

  auto name = std::make_shared<std::string>();
  CLI::App* show = models->add_subcommand("show", "Show one model: inputs, attention sites, load error");
  show->add_option("model", *name, "Model, name or name:version")->required()->type_name("NAME");
  AddCommonFlags(*show, *common);
  show->footer(kShowExamples);
  show->callback([common, name, &status] { status = Show(*common, *name); });

  auto options = std::make_shared<LoadModelOptions>();
  CLI::App* load = models->add_subcommand("load", "Load or reload a model, and show it once it serves");
  load->add_option("model", *name, "Model, name or name:version; the newest version unless named")
      ->required()
      ->type_name("NAME");
  load->add_flag("--force", options->force, "Load again even if the same bytes serve");
  load->add_flag("--unload-first", options->unload_first,
                 "Free the old copy first, when both do not fit; requests fail meanwhile");
  AddCommonFlags(*load, *common);
  load->footer(kLoadExamples);
  load->callback([common, name, options, &status] { status = Load(*common, *name, *options); });

  CLI::App* unload = models->add_subcommand("unload", "Take a model out of memory, after its last request");
  unload->add_option("model", *name, "Model, name or name:version; the newest that serves unless named")
      ->required()
      ->type_name("NAME");
  AddCommonFlags(*unload, *common);
  unload->footer(kUnloadExamples);
  unload->callback([common, name, &status] { status = Unload(*common, *name); });
}

}  // namespace attribution::cli
