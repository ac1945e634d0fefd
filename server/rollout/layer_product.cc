#include "server/rollout/layer_product.h"

#include <ATen/ATen.h>

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

void MultiplyFromTheRight(const at::Tensor& layer, at::Tensor& rollout) {
  for (at::Tensor& rows : rollout.split(kStrip, /*dim=*/0)) rows.copy_(at::mm(rows, layer));
}

}  // namespace attribution::rollout
