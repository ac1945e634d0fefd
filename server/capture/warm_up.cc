#include "server/capture/warm_up.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <random>

#include "server/capture/tensor_warm_up.h"

namespace attribution::capture {

WarmUpBatch MakeWarmUpBatch(const std::vector<RunnerInput>& inputs, int64_t batch, int64_t length,
                            int64_t vocabulary_size, uint64_t seed, c10::Device device) {
  if (TakesTensors(inputs)) return MakeTensorWarmUp(inputs, batch, length, vocabulary_size, seed, device);
  std::mt19937_64 random(seed);  // not torch's generator: loading a model must not disturb it
  std::uniform_int_distribution<int64_t> any_id(0, std::max<int64_t>(vocabulary_size, 2) - 1);
  const at::Tensor ids = at::empty({batch, length}, at::kLong);
  std::generate_n(ids.data_ptr<int64_t>(), batch * length, [&] { return any_id(random); });
  const at::Tensor mask = at::ones({batch, length}, at::kLong);
  WarmUpBatch result;
  for (const RunnerInput& input : inputs) {
    if (input.role != InputRole::kAttentionMask) continue;
    for (int64_t sequence = 1; sequence < batch; sequence += 2) {
      mask.select(0, sequence).narrow(0, length - length / 3, length / 3).zero_();
    }
  }
  for (const RunnerInput& input : inputs) {
    const bool is_ids = input.role == InputRole::kInputIds;
    const bool is_mask = input.role == InputRole::kAttentionMask;
    result.inputs.push_back((is_ids ? ids : is_mask ? mask : at::zeros_like(ids)).to(device));
  }
  result.valid = mask.to(at::kBool);
  return result;
}

}  // namespace attribution::capture
