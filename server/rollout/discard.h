// DiscardSmallest sets the smallest cells of a layer to zero.
//
// Pure function; any thread.
#ifndef SERVER_ROLLOUT_DISCARD_H_
#define SERVER_ROLLOUT_DISCARD_H_

#include <ATen/core/Tensor.h>

#include "server/rollout/valid_positions.h"

namespace attribution::rollout {

// Sets the ⌊ratio · v²⌋ smallest of the v · v valid cells of `matrix` to 0. Cells that are 0 already count
// among them. Of equal cells the one with the smaller flat index goes first. The cell in the first valid row
// and first valid column always stays; no other goes in its stead. `matrix` is [n, n] float32, contiguous,
// not negative, finite, 0 in invalid rows and columns. Waits for the device. Takes temporaries of a block of
// rows only. REQUIRES: 0 <= ratio < 1.
void DiscardSmallest(double ratio, const ValidPositions& valid, at::Tensor& matrix);

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_DISCARD_H_
