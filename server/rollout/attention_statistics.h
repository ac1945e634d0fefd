// Statistics of attention matrices, from blocks of rows to sequences to batches.
//
// RowMeasurer takes four numbers a row on the device, without waiting for it; summing up happens once a
// layer, in double. AttentionStatistics merges exactly, so that how a batch was cut into chunks does not
// show. One measurer belongs to one job; its threads may measure blocks of different rows at the same time.
// AttentionStatistics is a value.
#ifndef SERVER_ROLLOUT_ATTENTION_STATISTICS_H_
#define SERVER_ROLLOUT_ATTENTION_STATISTICS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "server/rollout/valid_positions.h"

namespace attribution::rollout {

// Sums over the valid rows and columns of any number of matrices.
struct AttentionStatistics {
  double cell_sum = 0;
  double entropy_sum = 0;        // of rows, nats
  double concentration_sum = 0;  // of the largest cell of each row
  double max_cell = 0;
  int64_t num_rows = 0;
  int64_t num_cells = 0;

  // Adds the matrices of `other`: cells and rows weigh equally, wherever they came from.
  void Merge(const AttentionStatistics& other);

  // Mean of the cells; mean entropy of the rows, nats; mean over rows of the largest cell. 0 when there are
  // none.
  double mean() const { return num_cells == 0 ? 0 : cell_sum / static_cast<double>(num_cells); }
  double entropy() const { return num_rows == 0 ? 0 : entropy_sum / static_cast<double>(num_rows); }
  double concentration() const {
    return num_rows == 0 ? 0 : concentration_sum / static_cast<double>(num_rows);
  }
};

// Measures one [rows, columns] matrix that arrives in blocks of rows. Reused for the next one without being
// reset.
class RowMeasurer {
 public:
  // Space for `rows` rows, on the device of `options`.
  RowMeasurer(int64_t rows, const at::TensorOptions& options);

  // Measures sum and smallest cell of each row of `block`, rows [first_row, first_row + size(0)), float32:
  // what every layer needs. With `statistics` also the largest cell and the entropy -Σ x · log(max(x,
  // 1e-12)). The block must hold 0 in invalid rows and columns. It is not changed. Blocks of different rows
  // may be measured by several threads at once.
  void Measure(int64_t first_row, const at::Tensor& block, bool statistics);

  // Sums of rows [first_row, first_row + rows), [rows] float32 on the device. A view: the next matrix
  // overwrites it.
  at::Tensor row_sums(int64_t first_row, int64_t rows) const;

  struct Summary {
    AttentionStatistics
        statistics;  // cell_sum and counts only, when the blocks were measured without statistics
    int64_t non_finite_row = -1;  // first row that holds NaN or Inf, -1: none
    int64_t negative_row = -1;    // first row that holds a negative cell, -1: none
    double smallest_cell = 0;     // of that row
  };

  // Sums the rows up. Waits for the device.
  Summary Summarize(const ValidPositions& valid, bool statistics) const;

  int64_t bytes() const { return static_cast<int64_t>(rows_.nbytes()); }

 private:
  at::Tensor rows_;  // [4, rows] float32: sum, smallest, largest, entropy
};

// Returns the statistics of `matrix` [n, n] float32, which holds 0 in invalid rows and columns, such as a
// rollout. Takes temporaries of a block of rows only.
AttentionStatistics MeasureMatrix(const at::Tensor& matrix, const ValidPositions& valid);

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_ATTENTION_STATISTICS_H_
