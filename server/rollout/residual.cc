#include "server/rollout/residual.h"

#include <ATen/ATen.h>

namespace attribution::rollout {
namespace {

constexpr double kSmallestRowSum = 1e-10;

}  // namespace

// The row sums of A are known already, so those of X need no second pass: rowsum(X) = (1-ρ)·rowsum(A) + ρ.
// The diagonal cell of a row lies in the column of the same number, so it is scaled alike either way.
void AddResidual(Normalization normalization, double residual, const ValidPositions& valid, int64_t first_row,
                 const at::Tensor& row_sums, at::Tensor& block) {
  const double kept = 1.0 - residual;
  at::Tensor sums = row_sums.mul(kept);
  at::Tensor identity;
  if (valid.all()) {
    sums.add_(residual);
  } else {
    identity = valid.indicator().narrow(0, first_row, block.size(0));
    sums.add_(identity, residual);
  }
  const at::Tensor scale = sums.clamp_min_(kSmallestRowSum).reciprocal_();
  block.mul_(scale.mul(kept).unsqueeze(normalization == Normalization::kRows ? 1 : 0));
  at::Tensor diagonal = block.diagonal(first_row);
  if (valid.all()) {
    diagonal.add_(scale, residual);
  } else {
    diagonal.addcmul_(scale, identity, residual);
  }
}

}  // namespace attribution::rollout
