// Checks token sequences against the ranges of docs/api.md and of the model that will run them.
#ifndef SERVER_ENGINE_TOKEN_VALIDATION_H_
#define SERVER_ENGINE_TOKEN_VALIDATION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "attribution/request.h"

namespace attribution::engine {

// What a model accepts. 0 means unknown or unlimited.
struct TokenRanges {
  int64_t vocabulary_size = 0;
  int64_t token_type_vocabulary_size = 0;
  int64_t max_length = 0;
  bool has_mask = true;
  bool has_token_types = true;
};

// INVALID_ARGUMENT, with a field path such as "tokens.sequences[1].input_ids[3]", for the first value at
// fault. `input`: "tokens" or "text", how the paths begin.
absl::Status ValidateSequences(const std::vector<TokenSequence>& sequences, const TokenRanges& ranges,
                               const std::string& input);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_TOKEN_VALIDATION_H_
