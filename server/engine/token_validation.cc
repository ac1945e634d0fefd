#include "server/engine/token_validation.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"

namespace attribution::engine {
namespace {

absl::Status ValidateIds(const std::vector<int64_t>& ids, int64_t bound, const std::string& field,
                         const char* what) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && (bound == 0 || ids[i] < bound)) continue;
    const std::string range = bound == 0 ? "not negative" : absl::StrCat("in [0, ", bound, ")");
    return InvalidField(absl::StrCat(field, "[", i, "]"),
                        absl::StrCat("A ", what, " is out of range. It is ", ids[i], " at ", field, "[", i,
                                     "]; it must be ", range, ". Ids at masked positions count too."));
  }
  return absl::OkStatus();
}

absl::Status ValidateMask(const TokenSequence& sequence, bool has_mask, const std::string& path) {
  const std::vector<int32_t>& mask = sequence.attention_mask;
  const std::string field = absl::StrCat(path, ".attention_mask");
  if (mask.empty()) return absl::OkStatus();
  if (mask.size() != sequence.input_ids.size()) {
    return InvalidField(
        field,
        absl::StrCat("The attention mask is not as long as the token ids. attention_mask has ", mask.size(),
                     " values for ", sequence.input_ids.size(), " ids. Send one value an id, or no mask."));
  }
  for (size_t i = 0; i < mask.size(); ++i) {
    if (mask[i] == 0 && !has_mask) {
      return InvalidField(absl::StrCat(field, "[", i, "]"),
                          absl::StrCat("The model takes no attention mask. The mask is 0 at position ", i,
                                       ". Send the valid tokens alone."));
    }
    if (mask[i] != 0 && mask[i] != 1) {
      return InvalidField(absl::StrCat(field, "[", i, "]"),
                          absl::StrCat("An attention mask value is neither 0 nor 1. It is ", mask[i],
                                       " at position ", i, "."));
    }
  }
  if (std::find(mask.begin(), mask.end(), 1) == mask.end()) {
    return InvalidField(
        field,
        "A sequence has no valid position. Its attention mask is 0 everywhere. Leave the sequence out.");
  }
  return absl::OkStatus();
}

// `ids` is the field that the ids came in: a text has none below it.
absl::Status ValidateSequence(const TokenSequence& sequence, const TokenRanges& ranges,
                              const std::string& path, const std::string& ids) {
  const auto length = static_cast<int64_t>(sequence.input_ids.size());
  if (length == 0)
    return InvalidField(
        ids, absl::StrCat("A sequence is empty. ", ids, " holds nothing. Send at least one token id."));
  if (ranges.max_length > 0 && length > ranges.max_length) {
    return InvalidField(
        ids, absl::StrCat("A sequence is longer than the model takes. It has ", length, " tokens; at most ",
                          ranges.max_length, " fit. Shorten it, or set truncate for text."));
  }
  if (absl::Status status = ValidateIds(sequence.input_ids, ranges.vocabulary_size, ids, "token id");
      !status.ok()) {
    return status;
  }
  if (absl::Status status = ValidateMask(sequence, ranges.has_mask, path); !status.ok()) return status;
  const std::string types = absl::StrCat(path, ".token_type_ids");
  if (sequence.token_type_ids.empty()) return absl::OkStatus();
  if (!ranges.has_token_types) {
    return InvalidField(types, "The model takes no token type ids. Leave token_type_ids empty.");
  }
  if (sequence.token_type_ids.size() != sequence.input_ids.size()) {
    return InvalidField(
        types,
        absl::StrCat("The token type ids are not as long as the token ids. token_type_ids has ",
                     sequence.token_type_ids.size(), " for ", length, " ids. Send one an id, or none."));
  }
  return ValidateIds(sequence.token_type_ids, ranges.token_type_vocabulary_size, types, "token type id");
}

}  // namespace

absl::Status ValidateSequences(const std::vector<TokenSequence>& sequences, const TokenRanges& ranges,
                               const std::string& input) {
  const bool text = input == "text";
  for (size_t i = 0; i < sequences.size(); ++i) {
    const std::string path = absl::StrCat(input, text ? ".texts[" : ".sequences[", i, "]");
    const absl::Status status =
        ValidateSequence(sequences[i], ranges, path, text ? path : absl::StrCat(path, ".input_ids"));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace attribution::engine
