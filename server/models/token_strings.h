// Reads what each token id is called from a Hugging Face tokenizer.json. Pure; safe from any thread.
#ifndef SERVER_MODELS_TOKEN_STRINGS_H_
#define SERVER_MODELS_TOKEN_STRINGS_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace attribution::models {

// Returns the token of every id, [largest id + 1]; empty where an id has none. WordPiece, BPE and WordLevel
// keep a dictionary, Unigram a list of pairs; added_tokens come on top. Tokens stay as the vocabulary writes
// them: `##ing`, `Ġthe`, `▁the`. FAILED_PRECONDITION if the text is not such a file. Never throws.
absl::StatusOr<std::vector<std::string>> ParseTokenStrings(std::string_view json);

}  // namespace attribution::models

#endif  // SERVER_MODELS_TOKEN_STRINGS_H_
