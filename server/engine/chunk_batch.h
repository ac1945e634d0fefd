// Makes the padded tensors of one chunk.
#ifndef SERVER_ENGINE_CHUNK_BATCH_H_
#define SERVER_ENGINE_CHUNK_BATCH_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "attribution/request.h"
#include "server/capture/model_runner.h"
#include "server/engine/tensor_inputs.h"

namespace attribution::engine {

// Returns [B, S] int64 tensors on the CPU, in the order of `inputs`, for B sequences padded on the right to S
// = padded_length: ids with `pad_token_id`, mask and token types with 0. REQUIRES: no sequence is longer.
std::vector<at::Tensor> MakeChunkBatch(const std::vector<const TokenSequence*>& sequences,
                                       int64_t padded_length, const std::vector<capture::RunnerInput>& inputs,
                                       int64_t pad_token_id);

// Returns sequences [first, first + count) of named tensors, which share the request's memory.
std::vector<at::Tensor> MakeChunkBatch(const TensorInputs& tensors, int64_t first, int64_t count);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_CHUNK_BATCH_H_
