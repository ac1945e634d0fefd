// Made-up inputs on which a model is tried at load.
#ifndef SERVER_CAPTURE_WARM_UP_H_
#define SERVER_CAPTURE_WARM_UP_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "server/capture/model_runner.h"

namespace attribution::capture {

struct WarmUpBatch {
  std::vector<at::Tensor> inputs;  // in the order of `forward`, on the model's device
  at::Tensor valid;                // [B, S] bool, on the CPU
  bool any_length = false;         // attention may have other lengths than S, all its positions valid then
};

// A batch of random token ids below `vocabulary_size` (below 2 if that is 0). Where the model takes a mask,
// every second sequence is padded on the right by a third of its length. Tensors that are not filled by
// tokens are as MakeTensorWarmUp makes them, `length` in every free dimension. Deterministic in `seed`.
WarmUpBatch MakeWarmUpBatch(const std::vector<RunnerInput>& inputs, int64_t batch, int64_t length,
                            int64_t vocabulary_size, uint64_t seed, c10::Device device);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_WARM_UP_H_
