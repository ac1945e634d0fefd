#include "server/engine/request_intake.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/engine/output_checks.h"
#include "server/engine/tensor_request.h"
#include "server/engine/token_validation.h"
#include "server/rollout/rollout_options.h"

namespace attribution::engine {
namespace {

using models::ResidentModel;

// Whether every layer that is looked at has the head that is asked for.
absl::Status CheckHead(const ResolvedOptions& options, const OutputSelection& output,
                       const LayerSelection& layers, const std::vector<int32_t>& site_heads) {
  if (!options.head.has_value()) return absl::OkStatus();
  for (int32_t layer = 0; layer < layers.size(); ++layer) {
    const bool folded = layer >= options.start_layer && layer <= options.end_layer;
    const bool wanted = folded || layer == options.layer_idx || output.layer_matrices;
    const int32_t heads = site_heads[layers.SiteOf(layer)];
    if (!wanted || *options.head < heads) continue;
    return InvalidField("options.head",
                        absl::StrCat("Head number out of range. head is ", *options.head, "; layer ", layer,
                                     " has ", heads, " heads. Choose a head that every layer has."));
  }
  return absl::OkStatus();
}

bool HasTokenTypes(const capture::ModelDescription& description) {
  for (const capture::RunnerInput& input : description.inputs) {
    if (input.role == capture::InputRole::kTokenTypeIds) return true;
  }
  return false;
}

TokenRanges RangesOf(const capture::ModelDescription& description, const RequestLimits& limits) {
  TokenRanges ranges;
  ranges.vocabulary_size = description.vocabulary_size;
  ranges.token_type_vocabulary_size = description.token_type_vocabulary_size;
  ranges.max_length = description.max_sequence_length;
  if (limits.max_sequence_length > 0 &&
      (ranges.max_length == 0 || limits.max_sequence_length < ranges.max_length)) {
    ranges.max_length = limits.max_sequence_length;
  }
  ranges.has_mask = description.has_mask();
  ranges.has_token_types = HasTokenTypes(description);
  return ranges;
}

absl::Status CheckCount(size_t sequences, const RequestLimits& limits, const char* field) {
  if (sequences == 0)
    return InvalidField(
        field, absl::StrCat("The batch is empty. ", field, " holds nothing; send at least one sequence."));
  if (sequences > static_cast<size_t>(limits.max_sequences)) {
    return InvalidField(field,
                        absl::StrCat("The batch is larger than the server takes. It has ", sequences,
                                     " sequences; at most ", limits.max_sequences, " are taken. Split it."));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TokenSequence>> Tokenize(const TextBatch& batch, const ResidentModel& model,
                                                    int64_t max_length) {
  if (model.tokenizer == nullptr) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat("The model has no tokenizer. \"", model.name,
                                                   "\" takes token ids only. Send tokens instead of text.")),
        "NO_TOKENIZER");
  }
  auto encoded = model.tokenizer->Encode(batch.texts);
  if (!encoded.ok()) return encoded.status();
  std::vector<TokenSequence> sequences;
  for (std::vector<int64_t>& ids : *encoded) {
    if (batch.truncate && max_length > 0) model.tokenizer->Truncate(max_length, ids);
    sequences.push_back({std::move(ids), {}, {}});
  }
  return sequences;
}

// The sequences of any input, counted and converted to token ids, but not yet checked one by one.
struct Sequences {
  std::vector<TokenSequence> sequences;
  const char* input = "tokens";  // how field paths begin
};

absl::StatusOr<Sequences> SequencesOf(AttributionInput input, const ResidentModel& model,
                                      const RequestLimits& limits, int64_t max_length) {
  if (auto* tokens = std::get_if<TokenBatch>(&input)) {
    if (absl::Status status = CheckCount(tokens->sequences.size(), limits, "tokens.sequences"); !status.ok())
      return status;
    return Sequences{std::move(tokens->sequences), "tokens"};
  }
  if (const auto* text = std::get_if<TextBatch>(&input)) {
    if (absl::Status status = CheckCount(text->texts.size(), limits, "text.texts"); !status.ok())
      return status;
    auto sequences = Tokenize(*text, model, max_length);
    if (!sequences.ok()) return sequences.status();
    return Sequences{*std::move(sequences), "text"};
  }
  if (auto* tensors = std::get_if<TensorBatch>(&input)) {
    const capture::ModelDescription& description = model.runner->description();
    auto sequences = ReadTokens(std::move(*tensors), description.inputs,
                                {limits.max_sequences, max_length, description.vocabulary_size,
                                 description.token_type_vocabulary_size});
    if (!sequences.ok()) return sequences.status();
    return Sequences{*std::move(sequences), "tensors"};
  }
  return InvalidField("input", "The request has no input. Set tokens, text or tensors.");
}

// Pads every sequence on the right to the longest: what include_padding computes over.
absl::Status PadToLongest(const ResidentModel& model, std::vector<TokenSequence>& sequences) {
  size_t longest = 0;
  for (const TokenSequence& sequence : sequences) longest = std::max(longest, sequence.input_ids.size());
  for (size_t i = 0; i < sequences.size(); ++i) {
    TokenSequence& sequence = sequences[i];
    const size_t length = sequence.input_ids.size();
    if (length == longest) continue;
    if (!model.runner->description().has_mask()) {
      return InvalidField(
          "options.include_padding",
          absl::StrCat("Sequences of different lengths cannot be padded. The model takes no attention mask; "
                       "sequence ",
                       i, " has ", length, " tokens and the longest ", longest,
                       ". Send sequences of equal length, or leave include_padding unset."));
    }
    if (sequence.attention_mask.empty()) sequence.attention_mask.assign(length, 1);
    sequence.attention_mask.resize(longest, 0);
    sequence.input_ids.resize(longest, model.manifest.pad_token_id.value_or(0));
    if (!sequence.token_type_ids.empty()) sequence.token_type_ids.resize(longest, 0);
  }
  return absl::OkStatus();
}

// Checks the input and puts it into `prepared`, whose model, options and layers are known.
absl::Status TakeInput(AttributionInput input, const RequestLimits& limits, PreparedRequest& prepared) {
  const ResidentModel& model = *prepared.model;
  const capture::ModelDescription& description = model.runner->description();
  const TokenRanges ranges = RangesOf(description, limits);
  if (description.takes_tensors()) {
    auto tensors = PrepareTensors(std::move(input), model, prepared.layers,
                                  {limits.max_sequences, ranges.max_length, description.vocabulary_size,
                                   description.token_type_vocabulary_size},
                                  limits.max_sequence_length);
    if (tensors.ok()) prepared.tensors = *std::move(tensors);
    return tensors.status();
  }
  auto read = SequencesOf(std::move(input), model, limits, ranges.max_length);
  if (!read.ok()) return read.status();
  if (absl::Status status = ValidateSequences(read->sequences, ranges, read->input); !status.ok())
    return status;
  prepared.sequences = std::move(read->sequences);
  return prepared.options.include_padding ? PadToLongest(model, prepared.sequences) : absl::OkStatus();
}

}  // namespace

int64_t PreparedRequest::LengthOf(int64_t sequence) const {
  return tensors.has_value() ? tensors->attention_length
                             : static_cast<int64_t>(sequences[sequence].input_ids.size());
}

const std::vector<int32_t>& PreparedRequest::MaskOf(int64_t sequence) const {
  static const std::vector<int32_t> all_valid;
  if (!tensors.has_value()) return sequences[sequence].attention_mask;
  return tensors->masks.empty() ? all_valid : tensors->masks[sequence];
}

absl::StatusOr<PreparedRequest> PrepareRequest(AttributionRequest request, const RequestLimits& limits,
                                               std::shared_ptr<const ResidentModel> model) {
  const capture::ModelDescription& description = model->runner->description();
  auto layers = LayerSelection::Make(description, request.options.attention_layer_pattern, model->name);
  if (!layers.ok()) return layers.status();
  auto options = rollout::ResolveOptions(request.options, layers->size(), description.num_heads);
  if (!options.ok()) return options.status();
  if (absl::Status status = CheckHead(*options, request.output, *layers, description.site_heads);
      !status.ok())
    return status;
  if (options->chunk_policy == ChunkPolicy::kServerDefault)
    options->chunk_policy = limits.default_chunk_policy;
  if (absl::Status status = CheckOutput(request.output); !status.ok()) return status;

  PreparedRequest prepared{
      std::move(model), {}, *std::move(options), std::move(request.output), *std::move(layers)};
  if (absl::Status status = TakeInput(std::move(request.input), limits, prepared); !status.ok())
    return status;
  absl::Status rows = TakeRowIndices(
      prepared.num_sequences(), [&prepared](int64_t b) { return prepared.LengthOf(b); },
      [&prepared](int64_t b) -> const std::vector<int32_t>& { return prepared.MaskOf(b); },
      prepared.output.rows.indices);
  if (!rows.ok()) return rows;
  prepared.asked_options = std::move(request.options);
  return prepared;
}

}  // namespace attribution::engine
