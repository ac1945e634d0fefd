#include "server/rollout/attention_statistics.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace attribution::rollout {
namespace {

enum Column { kSum = 0, kSmallest = 1, kLargest = 2, kEntropy = 3, kColumns = 4 };

// Rows of a matrix measured at a time: few enough to stay in cache and to keep temporaries small.
constexpr int64_t kBlockRows = 128;
constexpr double kSmallestLogArgument = 1e-12;

}  // namespace

void AttentionStatistics::Merge(const AttentionStatistics& other) {
  cell_sum += other.cell_sum;
  entropy_sum += other.entropy_sum;
  concentration_sum += other.concentration_sum;
  max_cell = std::max(max_cell, other.max_cell);
  num_rows += other.num_rows;
  num_cells += other.num_cells;
}

RowMeasurer::RowMeasurer(int64_t rows, const at::TensorOptions& options)
    : rows_(at::zeros({kColumns, rows}, options.dtype(at::kFloat))) {}

at::Tensor RowMeasurer::row_sums(int64_t first_row, int64_t rows) const {
  return rows_.select(0, kSum).narrow(0, first_row, rows);
}

void RowMeasurer::Measure(int64_t first_row, const at::Tensor& block, bool statistics) {
  const at::Tensor target = rows_.narrow(1, first_row, block.size(0));
  at::Tensor sum = target.select(0, kSum);
  at::Tensor smallest = target.select(0, kSmallest);
  at::sum_out(sum, block, at::IntArrayRef{-1});
  at::amin_out(smallest, block, at::IntArrayRef{-1});
  if (!statistics) return;
  at::Tensor largest = target.select(0, kLargest);
  at::Tensor entropy = target.select(0, kEntropy);
  at::amax_out(largest, block, at::IntArrayRef{-1});
  at::Tensor terms = at::clamp_min(block, kSmallestLogArgument);
  terms.log_().mul_(block);
  at::sum_out(entropy, terms, at::IntArrayRef{-1});
  entropy.neg_();
}

RowMeasurer::Summary RowMeasurer::Summarize(const ValidPositions& valid, bool statistics) const {
  const at::Tensor host = rows_.to(at::kCPU);
  const auto cells = host.accessor<float, 2>();
  Summary summary;
  AttentionStatistics& total = summary.statistics;
  for (int64_t row = 0; row < host.size(1); ++row) {
    if (!valid.IsValid(row)) continue;
    // A sum of cells is NaN or Inf when one of them is.
    if (summary.non_finite_row < 0 && !std::isfinite(cells[kSum][row])) summary.non_finite_row = row;
    if (summary.negative_row < 0 && cells[kSmallest][row] < 0) {
      summary.negative_row = row;
      summary.smallest_cell = cells[kSmallest][row];
    }
    total.cell_sum += cells[kSum][row];
    if (!statistics) continue;
    total.entropy_sum += cells[kEntropy][row];
    total.concentration_sum += cells[kLargest][row];
    total.max_cell = std::max(total.max_cell, static_cast<double>(cells[kLargest][row]));
  }
  total.num_rows = valid.count();
  total.num_cells = valid.count() * valid.count();
  return summary;
}

AttentionStatistics MeasureMatrix(const at::Tensor& matrix, const ValidPositions& valid) {
  RowMeasurer measurer(matrix.size(0), matrix.options());
  for (int64_t first = 0; first < matrix.size(0); first += kBlockRows) {
    const int64_t rows = std::min(kBlockRows, matrix.size(0) - first);
    measurer.Measure(first, matrix.narrow(0, first, rows), /*statistics=*/true);
  }
  return measurer.Summarize(valid, /*statistics=*/true).statistics;
}

}  // namespace attribution::rollout
