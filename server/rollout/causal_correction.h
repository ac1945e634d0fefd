// Corrects a rollout for what piles up on the first positions of a causal model.
//
// Pure functions; any thread. Both return a new [n, n] float32, whose rows sum to 1 or are 0. The formulas
// are in docs/rollout.md.
#ifndef SERVER_ROLLOUT_CAUSAL_CORRECTION_H_
#define SERVER_ROLLOUT_CAUSAL_CORRECTION_H_

#include <ATen/core/Tensor.h>

#include "server/rollout/valid_positions.h"

namespace attribution::rollout {

// Divides `rollout` [n, n] float32 by `uniform` [n, n] float64, cell by cell, then each row by its sum. Cells
// where `uniform` is below 1e-30 become 0. Temporaries are of a block of rows.
at::Tensor DivideByUniform(const at::Tensor& rollout, const at::Tensor& uniform);

// Sets the first valid column of `rollout` [n, n] float32 to 0, then divides each row by its sum.
at::Tensor DropFirstColumn(const at::Tensor& rollout, const ValidPositions& valid);

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_CAUSAL_CORRECTION_H_
