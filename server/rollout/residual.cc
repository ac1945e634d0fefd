#include "server/rollout/residual.h"

#include <ATen/ATen.h>

namespace attribution::rollout {
namespace {

constexpr double kSmallestRowSum = 1e-10;

}  // namespace

// The row sums of A are known already, so those of X need no second pass: rowsum(X) = (1-ρ)·rowsum(A) + ρ.
at::Tensor ResidualScale(double residual, const ValidPositions& valid, int64_t first_row,
                         const at::Tensor& row_sums) {
  at::Tensor sums = row_sums.mul(1.0 - residual);
  if (valid.all()) {
    sums.add_(residual);
  } else {
    sums.add_(valid.indicator().narrow(0, first_row, row_sums.size(0)), residual);
  }
  return sums.clamp_min_(kSmallestRowSum).reciprocal_();
}

// The diagonal cell of a row lies in the column of the same number, so it is scaled alike either way.
void AddResidual(Normalization normalization, double residual, const ValidPositions& valid, int64_t first_row,
                 const at::Tensor& row_sums, at::Tensor& block) {
  const at::Tensor scale = ResidualScale(residual, valid, first_row, row_sums);
  block.mul_(scale.mul(1.0 - residual).unsqueeze(normalization == Normalization::kRows ? 1 : 0));
  at::Tensor diagonal = block.diagonal(first_row);
  if (valid.all()) {
    diagonal.add_(scale, residual);
  } else {
    diagonal.addcmul_(scale, valid.indicator().narrow(0, first_row, block.size(0)), residual);
  }
}

}  // namespace attribution::rollout
