#include "server/rollout/causal_correction.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>

namespace attribution::rollout {
namespace {

constexpr int64_t kBlockRows = 128;
constexpr double kSmallestUniform = 1e-30;
constexpr double kSmallestRowSum = 1e-10;

void DivideBySums(at::Tensor& rows) { rows.div_(rows.sum(1, /*keepdim=*/true).clamp_min_(kSmallestRowSum)); }

}  // namespace

at::Tensor DivideByUniform(const at::Tensor& rollout, const at::Tensor& uniform) {
  at::Tensor corrected = at::empty_like(rollout, at::MemoryFormat::Contiguous);
  for (int64_t first = 0; first < rollout.size(0); first += kBlockRows) {
    const int64_t count = std::min(kBlockRows, rollout.size(0) - first);
    const at::Tensor divisor = uniform.narrow(0, first, count);
    at::Tensor rows = rollout.narrow(0, first, count).div(divisor);  // float64
    rows.masked_fill_(divisor.lt(kSmallestUniform), 0);
    DivideBySums(rows);
    corrected.narrow(0, first, count).copy_(rows);
  }
  return corrected;
}

at::Tensor DropFirstColumn(const at::Tensor& rollout, const ValidPositions& valid) {
  at::Tensor corrected = rollout.clone(at::MemoryFormat::Contiguous);
  corrected.select(1, valid.first()).zero_();
  DivideBySums(corrected);
  return corrected;
}

}  // namespace attribution::rollout
