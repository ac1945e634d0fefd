#include "server/rollout/row_by_row_fold.h"

#include <ATen/ATen.h>

#include <utility>

#include "server/rollout/layer_product.h"
#include "server/rollout/residual.h"

namespace attribution::rollout {

RowByRowFold::RowByRowFold(double residual, ValidPositions valid, const at::TensorOptions& tensor_options)
    : residual_(residual),
      valid_(std::move(valid)),
      cells_(at::empty({valid_.length() * valid_.length()}, tensor_options.dtype(at::kFloat))) {}

void RowByRowFold::AddBlock(int64_t first_row, const at::Tensor& row_sums, at::Tensor& block,
                            const at::Tensor& spare) {
  const int64_t rows = block.size(0);
  AddResidual(Normalization::kRows, residual_, valid_, first_row, row_sums, block);
  if (first_layer_) {
    rollout().narrow(0, first_row, rows).copy_(block);
    return;
  }
  at::Tensor product = AsMatrix(spare, valid_.length()).narrow(0, first_row, rows);
  at::mm_out(product, block, rollout());
}

// Sequences of the chunk's largest length trade buffers; a shorter one keeps its own, small one.
void RowByRowFold::EndLayer(const at::Tensor& /*row_sums*/, at::Tensor& spare) {
  if (std::exchange(first_layer_, false)) return;  // it went straight into R
  if (spare.numel() == cells_.numel()) {
    std::swap(spare, cells_);
  } else {
    cells_.copy_(spare.narrow(0, 0, cells_.numel()));
  }
}

at::Tensor RowByRowFold::rollout() const { return AsMatrix(cells_, valid_.length()); }

}  // namespace attribution::rollout
