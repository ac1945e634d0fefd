// One pass over the matrix with a heap of the cells kept so far. Its front is the one that goes first, so
// that nearly every cell costs one comparison.
#include "server/rollout/top_cells.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace attribution::rollout {
namespace {

// Rows brought to the host at a time.
constexpr int64_t kBlockRows = 128;

bool ComesBefore(const Cell& a, const Cell& b) {
  if (a.value != b.value) return a.value > b.value;
  return a.row != b.row ? a.row < b.row : a.column < b.column;
}

class Heap {
 public:
  explicit Heap(size_t size) : size_(size) { cells_.reserve(size); }

  // REQUIRES: cells come in flat order.
  void Offer(const Cell& cell) {
    if (cells_.size() < size_) {
      cells_.push_back(cell);
      if (cells_.size() == size_) std::make_heap(cells_.begin(), cells_.end(), ComesBefore);
    } else if (cell.value > cells_.front().value) {  // an equal one would come later
      std::pop_heap(cells_.begin(), cells_.end(), ComesBefore);
      cells_.back() = cell;
      std::push_heap(cells_.begin(), cells_.end(), ComesBefore);
    }
  }

  std::vector<Cell> TakeSorted() {
    std::sort(cells_.begin(), cells_.end(), ComesBefore);
    return std::move(cells_);
  }

 private:
  const size_t size_;
  std::vector<Cell> cells_;
};

}  // namespace

std::vector<Cell> LargestCells(const at::Tensor& matrix, const ValidPositions& valid, int64_t count) {
  const int64_t size = std::min(count, valid.count() * valid.count());
  if (size == 0) return {};
  Heap heap(static_cast<size_t>(size));
  for (int64_t first = 0; first < matrix.size(0); first += kBlockRows) {
    const int64_t rows = std::min(kBlockRows, matrix.size(0) - first);
    const at::Tensor block = matrix.narrow(0, first, rows).to(at::kCPU);
    const auto cells = block.accessor<float, 2>();
    for (int64_t i = 0; i < rows; ++i) {
      if (!valid.IsValid(first + i)) continue;
      for (int64_t j = 0; j < block.size(1); ++j) {
        if (!valid.IsValid(j)) continue;
        heap.Offer({static_cast<int32_t>(first + i), static_cast<int32_t>(j), cells[i][j]});
      }
    }
  }
  return heap.TakeSorted();
}

}  // namespace attribution::rollout
