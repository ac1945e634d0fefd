// Sorting a matrix takes three more of its size (torch numbers what it sorts in 64 bits). The k-th smallest
// cell is looked for instead by halving a range of values: each step counts, a block of rows at a time, the
// cells up to the middle. Floats that are not negative are in the order of their bits, so 31 steps reach the
// exact value.
#include "server/rollout/discard.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace attribution::rollout {
namespace {

constexpr int64_t kBlockRows = 128;
constexpr uint32_t kBitsOfInfinity = 0x7f800000;

// Returns how many cells of `matrix` are at most `bound`.
int64_t CountUpTo(const at::Tensor& matrix, float bound) {
  at::Tensor count = at::zeros({}, matrix.options().dtype(at::kLong));
  for (const at::Tensor& block : matrix.split(kBlockRows)) count.add_(at::count_nonzero(block.le(bound)));
  return count.item<int64_t>();
}

// Returns the `k`-th smallest cell, k from 1.
float KthSmallest(const at::Tensor& matrix, int64_t k) {
  uint32_t low = 0;
  uint32_t high = kBitsOfInfinity;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (CountUpTo(matrix, std::bit_cast<float>(middle)) >= k) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return std::bit_cast<float>(low);
}

// Sets to 0 the first `count` cells, in flat order, that equal `value`, and all that are smaller.
void ClearSmallest(at::Tensor& matrix, float value, int64_t count) {
  for (at::Tensor& block : matrix.split(kBlockRows)) {
    at::Tensor cells = block.view({-1});
    at::Tensor discarded = cells.lt(value);
    if (count > 0) {
      const at::Tensor equal = cells.eq(value).nonzero().view({-1});
      const at::Tensor first = equal.narrow(0, 0, std::min(count, equal.size(0)));
      discarded.index_fill_(0, first, true);
      count -= first.size(0);
    }
    cells.masked_fill_(discarded, 0);
  }
}

}  // namespace

void DiscardSmallest(double ratio, const ValidPositions& valid, at::Tensor& matrix) {
  const int64_t invalid_cells = matrix.numel() - valid.count() * valid.count();
  const auto discarded =
      static_cast<int64_t>(std::floor(ratio * static_cast<double>(valid.count() * valid.count())));
  if (discarded == 0) return;
  // Invalid cells are 0, so they come before every cell that can be set to 0.
  const int64_t k = invalid_cells + discarded;
  const float threshold = KthSmallest(matrix, k);
  if (threshold == 0) return;
  const float just_below = std::nextafter(threshold, 0.0F);
  const int64_t ties = k - CountUpTo(matrix, just_below);
  at::Tensor kept_cell = matrix[valid.first()][valid.first()];
  const at::Tensor kept = kept_cell.clone();
  ClearSmallest(matrix, threshold, ties);
  kept_cell.copy_(kept);
}

}  // namespace attribution::rollout
