#include "server/rollout/head_accumulator.h"

#include <ATen/ATen.h>

namespace attribution::rollout {

HeadAccumulator::HeadAccumulator(int64_t heads, int64_t length, HeadFusion fusion,
                                 std::optional<int32_t> head, const at::TensorOptions& tensor_options)
    : heads_(heads),
      length_(length),
      fusion_(fusion),
      head_(head),
      cells_(at::empty({length * length}, tensor_options.dtype(at::kFloat))) {}

void HeadAccumulator::Add(int64_t head, int64_t first_cell, const at::Tensor& cells) {
  at::Tensor target = cells_.narrow(0, first_cell, cells.size(0));
  if (head == 0 || head_.has_value()) {
    target.copy_(cells);
    return;
  }
  const at::Tensor here = cells.to(target.device());
  switch (fusion_) {
    case HeadFusion::kMean:
      target.add_(here);
      return;
    case HeadFusion::kMax:
      at::maximum_out(target, target, here);
      return;
    case HeadFusion::kMin:
      at::minimum_out(target, target, here);
      return;
  }
}

at::Tensor HeadAccumulator::Finish() {
  if (fusion_ == HeadFusion::kMean && !head_.has_value()) cells_.div_(static_cast<double>(heads_));
  return cells_.view({length_, length_});
}

}  // namespace attribution::rollout
