// Checks the values of a request's tensors.
//
// Pure functions; any thread.
#ifndef SERVER_ENGINE_TENSOR_VALUES_H_
#define SERVER_ENGINE_TENSOR_VALUES_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "server/capture/model_runner.h"

namespace attribution::engine {

// INVALID_ARGUMENT at `field` with the flat index of the first byte that is neither 0 nor 1.
absl::Status CheckBools(const std::string& bytes, const std::string& name, const std::string& field);

// INVALID_ARGUMENT at `field` with the flat index of the first value at fault: a float that is not finite, a
// mask value that is neither 0 nor 1, a token id that is negative or not below `vocabulary_size` (0:
// unknown); or with the sequence of a mask that has no valid position. REQUIRES: `tensor` is contiguous.
absl::Status CheckValues(const at::Tensor& tensor, const capture::RunnerInput& input, int64_t vocabulary_size,
                         const std::string& field);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_TENSOR_VALUES_H_
