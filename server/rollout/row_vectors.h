// Multiplies row vectors into layers without making Ã: rows · Ã = (1-ρ)·(rows ∘ s) · A + ρ·(rows ∘ s), where
// s is the scale of each row, or the same with s applied to the columns of the product.
//
// Pure functions; any thread.
#ifndef SERVER_ROLLOUT_ROW_VECTORS_H_
#define SERVER_ROLLOUT_ROW_VECTORS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "server/rollout/residual.h"
#include "server/rollout/row_selection.h"
#include "server/rollout/valid_positions.h"

namespace attribution::rollout {

// Returns rows `rows` of the identity, [k, length] float32 on the device of `options`.
at::Tensor UnitRows(const std::vector<RowRun>& rows, int64_t length, const at::TensorOptions& options);

// Returns `rows` [k, n] times Ã of AddResidual(), where `layer` [n, n] is A and `row_sums` [n] are its sums.
at::Tensor RowsTimesLayer(Normalization normalization, double residual, const ValidPositions& valid,
                          const at::Tensor& rows, const at::Tensor& row_sums, const at::Tensor& layer);

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_ROW_VECTORS_H_
