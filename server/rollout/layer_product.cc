#include "server/rollout/layer_product.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>

namespace attribution::rollout {
namespace {

// Rows or columns multiplied at a time: wide enough for a fast product, narrow beside the matrix.
constexpr int64_t kStrip = 128;

}  // namespace

at::Tensor AsMatrix(const at::Tensor& cells, int64_t length) {
  return cells.narrow(0, 0, length * length).view({length, length});
}

void MultiplyFromTheLeft(const at::Tensor& layer, at::Tensor& rollout) {
  for (at::Tensor& columns : rollout.split(kStrip, /*dim=*/1)) columns.copy_(at::mm(layer, columns));
}

void MultiplyFromTheRight(const at::Tensor& layer, const RowEnds& layer_ends, at::Tensor& rollout,
                          RowEnds& rollout_ends) {
  int64_t first_row = 0;
  for (const at::Tensor& rows : rollout.split(kStrip, /*dim=*/0)) {
    const int64_t inner = rollout_ends.Of(first_row, rows.size(0));
    const int64_t end = std::max(inner, layer_ends.Of(0, inner));
    rows.narrow(1, 0, end).copy_(
        at::mm(rows.narrow(1, 0, inner), layer.narrow(0, 0, inner).narrow(1, 0, end)));
    rollout_ends.Set(first_row, rows.size(0), end);
    first_row += rows.size(0);
  }
}

}  // namespace attribution::rollout
