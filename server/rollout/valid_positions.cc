#include "server/rollout/valid_positions.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace attribution::rollout {

ValidPositions::ValidPositions(const std::vector<int32_t>& mask, int64_t length,
                               const at::TensorOptions& options)
    : length_(length), count_(length - std::count(mask.begin(), mask.end(), 0)) {
  if (all()) return;
  mask_ = mask;
  first_ = std::find_if(mask.begin(), mask.end(), [](int32_t value) { return value != 0; }) - mask.begin();
  const at::Tensor host = at::tensor(mask_, at::TensorOptions(at::kInt));
  invalid_ = host.eq(0).to(options.device());
  indicator_ = host.to(options.device(), at::kFloat);
}

ValidPositions ValidPositions::Everywhere(const std::vector<int32_t>& mask, int64_t length,
                                          const at::TensorOptions& options) {
  ValidPositions everywhere({}, length, options);
  everywhere.masked_rows_ = ValidPositions(mask, length, options).invalid_;
  return everywhere;
}

void ValidPositions::ClearInvalid(int64_t first_row, at::Tensor& block) const {
  if (masked_rows_.defined()) {
    const at::Tensor masked = masked_rows_.narrow(0, first_row, block.size(0));
    block.masked_fill_(block.isnan().any(1).logical_and_(masked).unsqueeze(1), 0);
  }
  if (all()) return;
  block.masked_fill_(invalid_.narrow(0, 0, block.size(1)).unsqueeze(0), 0);
  block.masked_fill_(invalid_.narrow(0, first_row, block.size(0)).unsqueeze(1), 0);
}

int64_t ValidPositions::bytes() const {
  size_t bytes = 0;
  for (const at::Tensor& tensor : {invalid_, indicator_, masked_rows_}) {
    if (tensor.defined()) bytes += tensor.nbytes();
  }
  return static_cast<int64_t>(bytes);
}

}  // namespace attribution::rollout
