#include "server/rollout/selected_rows.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "server/rollout/matrix_slices.h"

namespace attribution::rollout {

SelectedRows::SelectedRows(std::vector<RowRun> runs, int64_t columns, MatrixEncoding encoding,
                           const at::TensorOptions& options)
    : runs_(std::move(runs)),
      encoding_(encoding),
      cells_(at::empty({CountRows(runs_), columns}, options.dtype(CellType(encoding)))) {}

void SelectedRows::Take(int64_t first_row, const at::Tensor& block) {
  const int64_t end_row = first_row + block.size(0);
  int64_t offset = 0;  // of the run in cells_
  for (const RowRun& run : runs_) {
    if (run.first_row >= end_row) return;
    const int64_t begin = std::max(first_row, run.first_row);
    const int64_t end = std::min(end_row, run.first_row + run.rows);
    if (begin < end) {
      const at::Tensor rows = cells_.narrow(0, offset + begin - run.first_row, end - begin);
      const int64_t columns = block.size(1);
      rows.narrow(1, 0, columns).copy_(block.narrow(0, begin - first_row, end - begin));
      rows.narrow(1, columns, rows.size(1) - columns).zero_();
    }
    offset += run.rows;
  }
}

void SelectedRows::Cut(MatrixSlice header, const std::function<void(MatrixSlice)>& emit) const {
  header.encoding = encoding_;
  CutChosenRows(cells_, runs_, header, emit);
}

void CutRows(const at::Tensor& matrix, const std::vector<RowRun>& runs, MatrixSlice header,
             const std::function<void(MatrixSlice)>& emit) {
  for (const RowRun& run : runs) {
    header.first_row = static_cast<int32_t>(run.first_row);
    CutMatrix(matrix.narrow(0, run.first_row, run.rows), header, emit);
  }
}

void CutChosenRows(const at::Tensor& rows, const std::vector<RowRun>& runs, MatrixSlice header,
                   const std::function<void(MatrixSlice)>& emit) {
  int64_t offset = 0;
  for (const RowRun& run : runs) {
    header.first_row = static_cast<int32_t>(run.first_row);
    CutMatrix(rows.narrow(0, offset, run.rows), header, emit);
    offset += run.rows;
  }
}

int64_t CountRows(const std::vector<RowRun>& runs) {
  int64_t rows = 0;
  for (const RowRun& run : runs) rows += run.rows;
  return rows;
}

}  // namespace attribution::rollout
