// Cuts rows of a matrix into messages.
//
// Pure functions; any thread.
#ifndef SERVER_ROLLOUT_MATRIX_SLICES_H_
#define SERVER_ROLLOUT_MATRIX_SLICES_H_

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <functional>

#include "attribution/events.h"
#include "attribution/options.h"

namespace attribution::rollout {

inline constexpr int64_t kMaxSliceBytes = 1 << 20;

// Type and bytes of one cell.
c10::ScalarType CellType(MatrixEncoding encoding);
int64_t CellBytes(MatrixEncoding encoding);

// Gives `matrix` [rows, columns], any floating dtype and device, to `emit` as slices in row order, each of at
// most 1 MiB of data but at least one row. `header` says whose rows these are, their encoding, and the number
// of the first one; first_row, rows, columns and data of each slice are filled in.
void CutMatrix(const at::Tensor& matrix, const MatrixSlice& header,
               const std::function<void(MatrixSlice)>& emit);

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_MATRIX_SLICES_H_
