// AddResidual turns the attention A of a layer into what the layer contributes to the product.
//
// Pure function; any thread.
#ifndef SERVER_ROLLOUT_RESIDUAL_H_
#define SERVER_ROLLOUT_RESIDUAL_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "server/rollout/valid_positions.h"

namespace attribution::rollout {

// What X = (1-ρ)·A + ρ·I is divided by.
enum class Normalization {
  kRows,              // row i by the sum of row i: rows of the result sum to 1
  kColumnsByRowSums,  // column j by the sum of row j, as the vit-explain script does
};

// Returns what rows [first_row, first_row + rows) of (1-ρ)·A + ρ·I are multiplied by so that they sum to 1,
// [rows] float32: 1 over their sums, of which those below 1e-10 count as 1e-10. `row_sums` [rows] are A's.
at::Tensor ResidualScale(double residual, const ValidPositions& valid, int64_t first_row,
                         const at::Tensor& row_sums);

// Replaces `block` by rows [first_row, first_row + size(0)) of the normalised (1-ρ)·A + ρ·I, where `residual`
// is ρ. `block` [rows, n], of a floating dtype, holds those rows of A, 0 in invalid rows and columns, and
// `row_sums` are A's row sums: of the same rows for kRows; of all for kColumnsByRowSums, whose block must be
// the whole matrix. The scale is that of ResidualScale(). The identity has no ones at invalid positions, so
// their rows stay 0.
void AddResidual(Normalization normalization, double residual, const ValidPositions& valid, int64_t first_row,
                 const at::Tensor& row_sums, at::Tensor& block);

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_RESIDUAL_H_
