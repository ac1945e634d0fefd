// SelectedRows keeps the rows of one matrix that will be sent, while the matrix passes by in blocks.
//
// Holds the chosen rows alone, in the encoding in which they are sent. Take() may be called by several
// threads at once for different rows; all else comes from one thread at a time.
#ifndef SERVER_ROLLOUT_SELECTED_ROWS_H_
#define SERVER_ROLLOUT_SELECTED_ROWS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "attribution/events.h"
#include "attribution/options.h"
#include "server/rollout/row_selection.h"

namespace attribution::rollout {

class SelectedRows {
 public:
  // Space for rows `runs` of a matrix of `columns` columns, on the device of `options`.
  SelectedRows(std::vector<RowRun> runs, int64_t columns, MatrixEncoding encoding,
               const at::TensorOptions& options);

  // Keeps what is chosen of `block` [rows, C] float32: rows [first_row, first_row + rows) of the matrix, 0
  // from column C on.
  void Take(int64_t first_row, const at::Tensor& block);

  // Gives the rows to `emit` as slices in ascending order, as CutMatrix does. `header` says whose matrix it
  // is. REQUIRES: every chosen row was taken.
  void Cut(MatrixSlice header, const std::function<void(MatrixSlice)>& emit) const;

  // Bytes of the tensor held.
  int64_t bytes() const { return static_cast<int64_t>(cells_.nbytes()); }

 private:
  std::vector<RowRun> runs_;
  MatrixEncoding encoding_;
  at::Tensor cells_;  // [chosen rows, columns], run after run
};

// Gives rows `runs` of `matrix` [n, n] float32 to `emit` as slices, run after run, as CutMatrix does.
void CutRows(const at::Tensor& matrix, const std::vector<RowRun>& runs, MatrixSlice header,
             const std::function<void(MatrixSlice)>& emit);

// As CutRows(), of `rows` [k, n] float32, which hold those rows alone, run after run.
void CutChosenRows(const at::Tensor& rows, const std::vector<RowRun>& runs, MatrixSlice header,
                   const std::function<void(MatrixSlice)>& emit);

// Returns how many rows `runs` hold.
int64_t CountRows(const std::vector<RowRun>& runs);

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_SELECTED_ROWS_H_
