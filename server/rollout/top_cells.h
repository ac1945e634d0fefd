// LargestCells finds the largest cells of a matrix.
//
// Pure function; any thread.
#ifndef SERVER_ROLLOUT_TOP_CELLS_H_
#define SERVER_ROLLOUT_TOP_CELLS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "attribution/events.h"
#include "server/rollout/valid_positions.h"

namespace attribution::rollout {

// Returns the `count` largest cells of `matrix` [n, n] float32, any device, in valid rows and columns, or all
// of those if there are fewer: the largest first, of equal ones that with the smaller flat index. Holds
// `count` cells and, of a matrix on another device, a block of rows. REQUIRES: count >= 0; no cell is NaN.
std::vector<Cell> LargestCells(const at::Tensor& matrix, const ValidPositions& valid, int64_t count);

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_TOP_CELLS_H_
