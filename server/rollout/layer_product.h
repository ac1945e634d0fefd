// Multiplies a whole layer into a rollout that is already there.
//
// Pure functions; any thread. Both matrices are [n, n] float32 on one device and share no memory; the layer
// is not changed. The rollout is replaced a strip at a time: beside the two matrices there is only the strip.
#ifndef SERVER_ROLLOUT_LAYER_PRODUCT_H_
#define SERVER_ROLLOUT_LAYER_PRODUCT_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "server/rollout/row_ends.h"

namespace attribution::rollout {

// Returns the flat `cells`, or the front of them, as a [length, length] matrix. A view.
at::Tensor AsMatrix(const at::Tensor& cells, int64_t length);

// rollout <- layer · rollout. A strip of columns of the product needs only the same columns of the rollout.
void MultiplyFromTheLeft(const at::Tensor& layer, at::Tensor& rollout);

// rollout <- rollout · layer. A strip of rows of the product needs only the same rows of the rollout. What
// lies beyond the ends is not multiplied; `rollout_ends` become those of the product.
void MultiplyFromTheRight(const at::Tensor& layer, const RowEnds& layer_ends, at::Tensor& rollout,
                          RowEnds& rollout_ends);

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_LAYER_PRODUCT_H_
