// What a caller asks for: a model, an input, options and the parts of the reply.
#ifndef ATTRIBUTION_REQUEST_H_
#define ATTRIBUTION_REQUEST_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "attribution/options.h"

namespace attribution {

// One sequence of S token ids. Ranges are checked when the request meets its model.
struct TokenSequence {
  std::vector<int64_t> input_ids;       // [S], in [0, vocabulary)
  std::vector<int32_t> attention_mask;  // [S] of 0 and 1, or empty: all valid
  std::vector<int64_t> token_type_ids;  // [S], or empty: zeros
};

// Sequences of token ids; lengths may differ.
struct TokenBatch {
  std::vector<TokenSequence> sequences;
};

// Texts for the bundle's own tokenizer.
struct TextBatch {
  std::vector<std::string> texts;  // UTF-8
  bool truncate = false;           // cut to the model's maximum length instead of refusing
};

enum class TensorDtype { kFloat32, kFloat16, kBfloat16, kInt64, kInt32, kBool };

// One input tensor, row-major and little-endian; dimension 0 is the batch.
struct NamedTensor {
  std::string name;
  TensorDtype dtype = TensorDtype::kFloat32;
  std::vector<int64_t> shape;
  std::string data;
};

struct TensorBatch {
  std::vector<NamedTensor> tensors;
};

// std::monostate: the caller sent no input, which is an error.
using AttributionInput = std::variant<std::monostate, TokenBatch, TextBatch, TensorBatch>;

struct AttributionRequest {
  std::string model;
  std::string model_version;  // empty: the newest that serves
  AttributionInput input;
  AttributionOptions options;
  OutputSelection output;
};

}  // namespace attribution

#endif  // ATTRIBUTION_REQUEST_H_
