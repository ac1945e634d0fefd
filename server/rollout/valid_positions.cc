#include "server/rollout/valid_positions.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace attribution::rollout {

ValidPositions::ValidPositions(const std::vector<int32_t>& mask, int64_t length,
                               const at::TensorOptions& options)
    : length_(length), count_(length - std::count(mask.begin(), mask.end(), 0)) {
  if (all()) return;
  mask_ = mask;
  const at::Tensor host = at::tensor(mask_, at::TensorOptions(at::kInt));
  invalid_ = host.eq(0).to(options.device());
  indicator_ = host.to(options.device(), at::kFloat);
}

void ValidPositions::ClearInvalid(int64_t first_row, at::Tensor& block) const {
  if (all()) return;
  block.masked_fill_(invalid_.unsqueeze(0), 0);
  block.masked_fill_(invalid_.narrow(0, first_row, block.size(0)).unsqueeze(1), 0);
}

int64_t ValidPositions::bytes() const {
  return all() ? 0 : static_cast<int64_t>(invalid_.nbytes() + indicator_.nbytes());
}

}  // namespace attribution::rollout
