// Cuts a matrix into messages of whole rows.
//
// Pure functions; any thread.
#ifndef SERVER_ROLLOUT_MATRIX_SLICES_H_
#define SERVER_ROLLOUT_MATRIX_SLICES_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "attribution/events.h"
#include "attribution/options.h"

namespace attribution::rollout {

inline constexpr int64_t kMaxSliceBytes = 1 << 20;

// Bytes of one cell.
int64_t CellBytes(MatrixEncoding encoding);

// Gives `matrix` [rows, columns] float32, any device, to `emit` as slices in row order, each of at most 1 MiB
// of data but at least one row. `header` says whose matrix it is and its encoding; rows, columns, first_row
// and data are filled in.
void CutMatrix(const at::Tensor& matrix, const MatrixSlice& header,
               const std::function<void(MatrixSlice)>& emit);

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_MATRIX_SLICES_H_
