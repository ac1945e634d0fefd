#include "server/capture/tensor_warm_up.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <random>

#include "absl/strings/match.h"

namespace attribution::capture {
namespace {

using Random = std::mt19937_64;  // not torch's generator: loading a model must not disturb it

at::Tensor Normal(at::IntArrayRef sizes, Random& random) {
  at::Tensor tensor = at::empty(sizes, at::kFloat);
  std::normal_distribution<float> values;
  std::generate_n(tensor.data_ptr<float>(), tensor.numel(), [&] { return values(random); });
  return tensor;
}

at::Tensor Integers(at::IntArrayRef sizes, int64_t bound, Random& random) {
  at::Tensor tensor = at::empty(sizes, at::kLong);
  std::uniform_int_distribution<int64_t> values(0, bound - 1);
  std::generate_n(tensor.data_ptr<int64_t>(), tensor.numel(), [&] { return values(random); });
  return tensor;
}

at::Tensor Mask(at::IntArrayRef sizes) {
  at::Tensor mask = at::ones(sizes, at::kLong);
  const int64_t length = sizes.back();
  for (int64_t sequence = 1; sequence < sizes[0] && sizes.size() == 2; sequence += 2) {
    mask.select(0, sequence).narrow(0, length - length / 3, length / 3).zero_();
  }
  return mask;
}

}  // namespace

at::ScalarType ScalarTypeOf(TensorDtype dtype) {
  switch (dtype) {
    case TensorDtype::kFloat32:
      return at::kFloat;
    case TensorDtype::kFloat16:
      return at::kHalf;
    case TensorDtype::kBfloat16:
      return at::kBFloat16;
    case TensorDtype::kInt64:
      return at::kLong;
    case TensorDtype::kInt32:
      return at::kInt;
    case TensorDtype::kBool:
      return at::kBool;
  }
  return at::kFloat;
}

bool IsMask(const RunnerInput& input) { return absl::EndsWith(input.name, "attention_mask"); }

bool IsTokenIds(const RunnerInput& input) { return absl::EndsWith(input.name, "input_ids"); }

WarmUpBatch MakeTensorWarmUp(const std::vector<RunnerInput>& inputs, int64_t batch, int64_t length,
                             int64_t vocabulary_size, uint64_t seed, c10::Device device) {
  Random random(seed);
  WarmUpBatch result{.inputs = {}, .valid = at::ones({batch, length}, at::kBool), .any_length = true};
  for (const RunnerInput& input : inputs) {
    std::vector<int64_t> sizes = input.shape;
    std::replace(sizes.begin() + 1, sizes.end(), int64_t{-1}, length);
    sizes[0] = batch;
    const at::ScalarType type = ScalarTypeOf(input.dtype);
    at::Tensor tensor;
    if (IsMask(input)) {
      tensor = Mask(sizes);
      if (input.role == InputRole::kAttentionMask && sizes.size() == 2) result.valid = tensor.to(at::kBool);
    } else if (at::isFloatingType(type)) {
      tensor = Normal(sizes, random);
    } else {
      tensor = Integers(sizes, IsTokenIds(input) ? std::max<int64_t>(vocabulary_size, 2) : 2, random);
    }
    result.inputs.push_back(tensor.to(device, type));
  }
  return result;
}

}  // namespace attribution::capture
