#include "client/cli/query_flags.h"

#include <fstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/errors.h"
#include "client/cli/model_choice.h"
#include "client/cli/npy_reader.h"

namespace attribution::cli {
namespace {

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
    absl::StatusOr<NamedTensor> read = ReadNpyFile(parts.second);
    if (!read.ok()) return read.status();
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

  AddComputationFlags(command, flags.computation);
  AddResultFlags(command, flags.result);
}

absl::StatusOr<AttributionRequest> MakeRequest(const QueryFlags& flags, std::istream& input) {
  AttributionRequest request;
  const ModelName model = SplitModel(flags.model);
  request.model = model.name;
  request.model_version = model.version;
  absl::StatusOr<AttributionOptions> options = ReadComputation(flags.computation);
  if (!options.ok()) return options.status();
  request.options = *std::move(options);
  absl::StatusOr<OutputSelection> output = ReadResult(flags.result);
  if (!output.ok()) return output.status();
  request.output = *std::move(output);
  request.output.tokens = true;
  absl::StatusOr<AttributionInput> read = ReadInput(flags, input);
  if (!read.ok()) return read.status();
  request.input = *std::move(read);
  return request;
}

}  // namespace attribution::cli
