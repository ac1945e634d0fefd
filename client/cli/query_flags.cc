#include "client/cli/query_flags.h"

#include <array>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/cli/errors.h"
#include "client/cli/npy_reader.h"

namespace attribution::cli {
namespace {

struct PresetSpelling {
  const char* name;
  Preset preset;
};
constexpr std::array<PresetSpelling, 8> kPresets = {{{"abnar-2020", Preset::kAbnar2020},
                                                     {"abnar", Preset::kAbnar2020},
                                                     {"iclr-metrics", Preset::kIclrMetrics},
                                                     {"iclr", Preset::kIclrMetrics},
                                                     {"chefer-2021", Preset::kChefer2021},
                                                     {"chefer", Preset::kChefer2021},
                                                     {"vit-explain", Preset::kVitExplain},
                                                     {"vit-explain-fixed", Preset::kVitExplainFixed}}};

absl::StatusOr<TokenBatch> ReadIds(const std::vector<std::string>& lists) {
  TokenBatch batch;
  for (const std::string& list : lists) {
    TokenSequence& sequence = batch.sequences.emplace_back();
    for (const absl::string_view part : absl::StrSplit(list, absl::ByAnyChar(", "), absl::SkipWhitespace())) {
      int64_t id = 0;
      if (!absl::SimpleAtoi(part, &id))
        return UsageError(absl::StrCat("Not a token id: --ids ", list, ": \"", part, "\"."));
      sequence.input_ids.push_back(id);
    }
  }
  return batch;
}

TextBatch ReadLines(std::istream& input) {
  TextBatch batch;
  for (std::string line; std::getline(input, line);) {
    const absl::string_view text = absl::StripAsciiWhitespace(line);
    if (!text.empty()) batch.texts.emplace_back(text);
  }
  return batch;
}

absl::StatusOr<TextBatch> ReadTexts(const QueryFlags& flags, std::istream& input) {
  if (!flags.texts.empty()) return TextBatch{.texts = flags.texts};
  TextBatch batch;
  if (flags.file.empty() || flags.file == "-") {
    batch = ReadLines(input);
  } else {
    std::ifstream file(flags.file);
    if (!file) return UsageError(absl::StrCat("Cannot read the file: ", flags.file, "."));
    batch = ReadLines(file);
  }
  if (batch.texts.empty()) {
    return UsageError(
        "Nothing to attribute. Give --text, --ids, --tensor or --file, or texts on standard input, one a "
        "line.");
  }
  return batch;
}

absl::StatusOr<TensorBatch> ReadTensors(const std::vector<std::string>& tensors) {
  TensorBatch batch;
  for (const std::string& tensor : tensors) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(tensor, absl::MaxSplits('=', 1));
    if (parts.first.empty() || parts.second.empty())
      return UsageError(absl::StrCat("Not a tensor: --tensor ", tensor, ". Write NAME=FILE.npy."));
    std::ifstream file(parts.second, std::ios::binary);
    if (!file) return UsageError(absl::StrCat("Cannot read the file: ", parts.second, "."));
    std::ostringstream bytes;
    bytes << file.rdbuf();
    absl::StatusOr<NamedTensor> read = ReadNpy(std::move(bytes).str());
    if (!read.ok()) {
      return UsageError(absl::StrCat("Cannot read the array: ", parts.second, ". ", read.status().message()));
    }
    read->name = parts.first;
    batch.tensors.push_back(*std::move(read));
  }
  return batch;
}

absl::StatusOr<AttributionInput> ReadInput(const QueryFlags& flags, std::istream& input) {
  const int sources =
      !flags.texts.empty() + !flags.ids.empty() + !flags.tensors.empty() + !flags.file.empty();
  if (sources > 1)
    return UsageError("More than one input. Give only one of --text, --ids, --tensor and --file.");
  if (!flags.tensors.empty()) {
    if (flags.truncate) return UsageError("--truncate is for texts, not for --tensor.");
    absl::StatusOr<TensorBatch> tensors = ReadTensors(flags.tensors);
    if (!tensors.ok()) return tensors.status();
    return *std::move(tensors);
  }
  if (!flags.ids.empty()) {
    if (flags.truncate) return UsageError("--truncate is for texts, not for --ids.");
    absl::StatusOr<TokenBatch> tokens = ReadIds(flags.ids);
    if (!tokens.ok()) return tokens.status();
    return *std::move(tokens);
  }
  absl::StatusOr<TextBatch> texts = ReadTexts(flags, input);
  if (!texts.ok()) return texts.status();
  texts->truncate = flags.truncate;
  return *std::move(texts);
}

}  // namespace

void AddQueryFlags(CLI::App& command, QueryFlags& flags) {
  command
      .add_option("model,--model", flags.model,
                  "Model, name or name:version. Default: the only one the server has")
      ->type_name("NAME");
  command.add_option("--text", flags.texts, "Text to attribute; repeat for more")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->group("Input");
  command.add_option("--ids", flags.ids, "Token ids such as 101,2023,102; repeat for more")
      ->type_name("IDS")
      ->allow_extra_args(false)
      ->group("Input");
  command
      .add_option("--tensor", flags.tensors,
                  "Input of a model that takes tensors, from a numpy file; repeat for more")
      ->type_name("NAME=FILE.npy")
      ->allow_extra_args(false)
      ->group("Input");
  command
      .add_option("--file", flags.file,
                  "File of texts, one a line; - is standard input, which is also the default")
      ->type_name("FILE")
      ->group("Input");
  command.add_flag("--truncate", flags.truncate, "Cut texts that are too long for the model")->group("Input");

  constexpr char kOptions[] = "Computation";
  command
      .add_option("--preset", flags.preset, "abnar (default), iclr, chefer, vit-explain or vit-explain-fixed")
      ->type_name("NAME")
      ->group(kOptions);
  command
      .add_option("--causal-correction", flags.causal_correction,
                  "Corrected rollout beside the plain one, in JSON: none, uniform-ratio or drop-first")
      ->type_name("NAME")
      ->check(CLI::IsMember({"none", "uniform-ratio", "drop-first"}))
      ->group(kOptions);
  command
      .add_option("--layer-idx", flags.layer_idx,
                  "Layer of the attention metrics; negative from the end. Default: -1")
      ->type_name("N")
      ->group(kOptions);
  command
      .add_option("--attention-layer-pattern", flags.attention_layer_pattern,
                  "Only layers whose module path matches")
      ->type_name("REGEX")
      ->group(kOptions);
  command
      .add_option("--residual-weight", flags.residual_weight, "Weight of the identity, 0 to 1. Default: 0.5")
      ->type_name("X")
      ->group(kOptions);

  constexpr char kResult[] = "Result";
  command.add_option("--rows", flags.rows, "Rows of the rollout: all, first, last, or numbers such as 0,4")
      ->type_name("ROWS")
      ->capture_default_str()
      ->group(kResult);
  command.add_option("--top-k", flags.top_k, "List the largest K cells of each rollout")
      ->type_name("K")
      ->group(kResult);
  command.add_flag("--no-matrix", flags.no_matrix, "Leave the rollout out")->group(kResult);
  command
      .add_flag("--skip-rollout-metrics", flags.skip_rollout_metrics,
                "Leave out the metrics that need every row of the rollout")
      ->group(kResult);
  command.add_option("--html", flags.html, "Write a web page of the reply")
      ->type_name("FILE")
      ->group(kResult);
  command.add_option("--npy", flags.npy, "Write the rollouts as a numpy array [B, S, S]")
      ->type_name("FILE")
      ->group(kResult);
  command
      .add_option("--progress", flags.progress,
                  "Progress on standard error: auto (on a terminal), lines or never")
      ->type_name("STYLE")
      ->check(CLI::IsMember({"auto", "lines", "never"}))
      ->capture_default_str()
      ->group(kResult);
}

absl::StatusOr<Preset> ReadPreset(const std::string& text) {
  const std::string lower = absl::StrReplaceAll(absl::AsciiStrToLower(text), {{"_", "-"}});
  const absl::string_view name = absl::StripPrefix(lower, "preset-");
  for (const PresetSpelling& spelling : kPresets) {
    if (name == spelling.name) return spelling.preset;
  }
  return UsageError(absl::StrCat("No such preset: ", text,
                                 ". There are abnar, iclr, chefer, vit-explain, vit-explain-fixed."));
}

absl::StatusOr<RowSelection> ReadRows(const std::string& text) {
  if (text == "all") return RowSelection{};
  if (text == "first") return RowSelection{.kind = RowSelection::Kind::kFirstValid, .indices = {}};
  if (text == "last") return RowSelection{.kind = RowSelection::Kind::kLastValid, .indices = {}};
  RowSelection rows{.kind = RowSelection::Kind::kIndices, .indices = {}};
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    if (!absl::SimpleAtoi(part, &rows.indices.emplace_back())) {
      return UsageError(
          absl::StrCat("Not rows: --rows ", text, ". Write all, first, last, or numbers such as 0,4."));
    }
  }
  return rows;
}

absl::StatusOr<AttributionRequest> MakeRequest(const QueryFlags& flags, std::istream& input) {
  AttributionRequest request;
  const std::pair<std::string, std::string> model = absl::StrSplit(flags.model, absl::MaxSplits(':', 1));
  request.model = model.first;
  request.model_version = model.second;
  if (!flags.preset.empty()) {
    const absl::StatusOr<Preset> preset = ReadPreset(flags.preset);
    if (!preset.ok()) return preset.status();
    request.options.preset = *preset;
  }
  const absl::StatusOr<RowSelection> rows = ReadRows(flags.rows);
  if (!rows.ok()) return rows.status();
  request.output.rows = *rows;
  absl::StatusOr<AttributionInput> read = ReadInput(flags, input);
  if (!read.ok()) return read.status();
  request.input = *std::move(read);
  request.options.layer_idx = flags.layer_idx;
  request.options.attention_layer_pattern = flags.attention_layer_pattern;
  request.options.residual_weight = flags.residual_weight;
  if (flags.causal_correction == "uniform-ratio") {
    request.options.causal_correction = CausalCorrection::kUniformRatio;
  } else if (flags.causal_correction == "drop-first") {
    request.options.causal_correction = CausalCorrection::kDropFirst;
  }
  request.output.layer_metrics = true;
  request.output.tokens = true;
  request.output.rollout_matrix = !flags.no_matrix || !flags.html.empty() || !flags.npy.empty();
  request.output.top_k = flags.top_k;
  request.output.skip_rollout_metrics = flags.skip_rollout_metrics;
  if (!request.output.rollout_matrix && request.output.rows.kind != RowSelection::Kind::kAll)
    return UsageError(
        "--rows chooses rows of the rollout, which --no-matrix leaves out. Give only one of them.");
  return request;
}

}  // namespace attribution::cli
