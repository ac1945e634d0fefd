#include "server/rollout/row_by_row_fold.h"

#include <ATen/ATen.h>

#include <utility>

#include "server/rollout/layer_product.h"
#include "server/rollout/residual.h"

namespace attribution::rollout {

RowByRowFold::RowByRowFold(double residual, ValidPositions valid, const at::TensorOptions& tensor_options)
    : residual_(residual),
      valid_(std::move(valid)),
      cells_(at::empty({valid_.length() * valid_.length()}, tensor_options.dtype(at::kFloat))),
      ends_(valid_.length()),
      next_ends_(valid_.length()) {}

void RowByRowFold::AddBlock(int64_t first_row, const at::Tensor& row_sums, at::Tensor& block,
                            const at::Tensor& spare) {
  const int64_t length = valid_.length();
  const int64_t rows = block.size(0);
  const int64_t columns = block.size(1);
  AddResidual(Normalization::kRows, residual_, valid_, first_row, row_sums, block);
  const int64_t end = first_layer_ ? columns : ends_.Of(0, columns);
  const at::Tensor target = (first_layer_ ? rollout() : AsMatrix(spare, length)).narrow(0, first_row, rows);
  at::Tensor product = target.narrow(1, 0, end);
  if (first_layer_) {
    product.copy_(block);
  } else {
    at::mm_out(product, block, rollout().narrow(0, 0, columns).narrow(1, 0, end));
  }
  target.narrow(1, end, length - end).zero_();
  next_ends_.Set(first_row, rows, end);
}

// Sequences of the chunk's largest length trade buffers; a shorter one keeps its own, small one.
void RowByRowFold::EndLayer(const at::Tensor& /*row_sums*/, at::Tensor& spare) {
  std::swap(ends_, next_ends_);
  if (std::exchange(first_layer_, false)) return;  // it went straight into R
  if (spare.numel() == cells_.numel()) {
    std::swap(spare, cells_);
  } else {
    cells_.copy_(spare.narrow(0, 0, cells_.numel()));
  }
}

at::Tensor RowByRowFold::rollout() const { return AsMatrix(cells_, valid_.length()); }

}  // namespace attribution::rollout
