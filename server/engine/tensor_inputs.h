// The tensors of a request to a model that does not take tokens, checked against what the model declares.
//
// Plain values and pure functions; any thread.
#ifndef SERVER_ENGINE_TENSOR_INPUTS_H_
#define SERVER_ENGINE_TENSOR_INPUTS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "attribution/request.h"
#include "server/capture/model_runner.h"

namespace attribution::engine {

struct TensorInputs {
  std::vector<at::Tensor> tensors;          // [B, ...] on the CPU, in the order of `forward`
  int64_t sequences = 0;                    // B
  int64_t input_length = 1;                 // size of the free dimensions; 1 if there are none
  int64_t attention_length = 0;             // S, the same for all sequences
  std::vector<std::vector<int32_t>> masks;  // of each sequence [S]; none: every position is valid
  int64_t bytes = 0;                        // of the tensors
};

// What a batch of tensors may be. 0 means unknown or unlimited.
struct TensorRanges {
  int32_t max_sequences = 0;
  int64_t max_length = 0;  // of the free dimensions
  int64_t vocabulary_size = 0;
  int64_t token_type_vocabulary_size = 0;
};

// Takes over the bytes of `batch` as the tensors of `inputs`. Every input is there once; names, dtypes, ranks
// and sizes are those declared, with one batch and one free size for all; bytes are as many as the shape
// says; floats are finite, bools and masks 0 or 1, each sequence of a mask has a valid position, token ids
// lie in the vocabulary. INVALID_ARGUMENT with a field such as "tensors.tensors[1].shape" otherwise. Leaves
// attention_length and masks to the caller.
absl::StatusOr<TensorInputs> ReadTensors(TensorBatch batch, const std::vector<capture::RunnerInput>& inputs,
                                         const TensorRanges& ranges);

// Takes tensors [B, S] of int64 or int32 as the tokens of a model whose inputs are filled by tokens. The mask
// and token types may be absent. Errors as above.
absl::StatusOr<std::vector<TokenSequence>> ReadTokens(TensorBatch batch,
                                                      const std::vector<capture::RunnerInput>& inputs,
                                                      const TensorRanges& ranges);

// The rows of an int64, int32 or bool tensor [B, S] as a mask each.
std::vector<std::vector<int32_t>> MasksOf(const at::Tensor& tensor);

// Says what a model takes: "pixel_values float32 [-1, 3, 32, 32]".
std::string DescribeInputs(const std::vector<capture::RunnerInput>& inputs);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_TENSOR_INPUTS_H_
