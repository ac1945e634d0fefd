#include "server/rollout/matrix_slices.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <utility>

namespace attribution::rollout {

static_assert(std::endian::native == std::endian::little,
              "Cells are sent as they lie in memory, little-endian.");

c10::ScalarType CellType(MatrixEncoding encoding) {
  return encoding == MatrixEncoding::kFloat16 ? at::kHalf : at::kFloat;
}

int64_t CellBytes(MatrixEncoding encoding) { return encoding == MatrixEncoding::kFloat16 ? 2 : 4; }

void CutMatrix(const at::Tensor& matrix, const MatrixSlice& header,
               const std::function<void(MatrixSlice)>& emit) {
  const at::ScalarType type = CellType(header.encoding);
  const int64_t row_bytes = std::max<int64_t>(1, matrix.size(1) * CellBytes(header.encoding));
  const int64_t rows_per_slice = std::max<int64_t>(1, kMaxSliceBytes / row_bytes);
  for (int64_t first = 0; first < matrix.size(0); first += rows_per_slice) {
    const int64_t rows = std::min(rows_per_slice, matrix.size(0) - first);
    const at::Tensor cells = matrix.narrow(0, first, rows).to(at::kCPU, type).contiguous();
    MatrixSlice slice = header;
    slice.first_row = header.first_row + static_cast<int32_t>(first);
    slice.rows = static_cast<int32_t>(rows);
    slice.columns = static_cast<int32_t>(matrix.size(1));
    slice.data.assign(static_cast<const char*>(cells.const_data_ptr()), cells.nbytes());
    emit(std::move(slice));
  }
}

}  // namespace attribution::rollout
