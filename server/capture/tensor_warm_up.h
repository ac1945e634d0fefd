// Made-up tensors on which a model that does not take tokens is tried at load.
//
// Pure functions; any thread.
#ifndef SERVER_CAPTURE_TENSOR_WARM_UP_H_
#define SERVER_CAPTURE_TENSOR_WARM_UP_H_

#include <cstdint>
#include <vector>

#include "attribution/request.h"
#include "server/capture/warm_up.h"

namespace attribution::capture {

at::ScalarType ScalarTypeOf(TensorDtype dtype);

// Whether a tensor of this input is a mask of 0 and 1 over positions: its name ends in `attention_mask`.
bool IsMask(const RunnerInput& input);

// Whether a tensor of this input holds token ids: its name ends in `input_ids`.
bool IsTokenIds(const RunnerInput& input);

// Floats are standard normal, token ids random below `vocabulary_size` (below 2 if that is 0), other integers
// and bools 0 or 1, masks 1 with every second sequence padded on the right by a third of its length. Free
// dimensions but the batch have size `length`. `valid` is the input `attention_mask` where there is one,
// [B, length], else true everywhere. Deterministic in `seed`.
WarmUpBatch MakeTensorWarmUp(const std::vector<RunnerInput>& inputs, int64_t batch, int64_t length,
                             int64_t vocabulary_size, uint64_t seed, c10::Device device);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_TENSOR_WARM_UP_H_
