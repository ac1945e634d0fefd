#include "server/rollout/row_vectors.h"

#include <ATen/ATen.h>

#include "server/rollout/selected_rows.h"

namespace attribution::rollout {

at::Tensor UnitRows(const std::vector<RowRun>& rows, int64_t length, const at::TensorOptions& options) {
  at::Tensor unit = at::zeros({CountRows(rows), length}, options.dtype(at::kFloat));
  int64_t offset = 0;
  for (const RowRun& run : rows) {
    unit.narrow(0, offset, run.rows).narrow(1, run.first_row, run.rows).diagonal().fill_(1);
    offset += run.rows;
  }
  return unit;
}

at::Tensor RowsTimesLayer(Normalization normalization, double residual, const ValidPositions& valid,
                          const at::Tensor& rows, const at::Tensor& row_sums, const at::Tensor& layer) {
  const at::Tensor scale = ResidualScale(residual, valid, /*first_row=*/0, row_sums);
  const at::Tensor left = normalization == Normalization::kRows ? rows.mul(scale) : rows;
  at::Tensor product = at::mm(left, layer).mul_(1.0 - residual);
  if (valid.all()) {
    product.add_(left, residual);
  } else {
    product.addcmul_(left, valid.indicator(), residual);
  }
  return normalization == Normalization::kRows ? product : product.mul_(scale);
}

}  // namespace attribution::rollout
