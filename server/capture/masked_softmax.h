// The softmax over the rows of a block of scores, with what is added to them, on any device.
//
// Pure function; any thread.
#ifndef SERVER_CAPTURE_MASKED_SOFTMAX_H_
#define SERVER_CAPTURE_MASKED_SOFTMAX_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "server/capture/softmax_kernel.h"

namespace attribution::capture {

// Replaces `scores` [H, n, S], contiguous, by softmax(scores + mask) over the last dimension. `mask`:
// broadcastable to [H, n, S], of the scores' dtype; undefined if nothing is added. `causal_row`: row i of the
// block is row causal_row + i of its matrix and later columns are hidden; or kNotCausal. A row of which
// nothing is left becomes what `hidden_rows` says; NaN in the scores stays NaN.
void MaskedSoftmax(at::Tensor& scores, const at::Tensor& mask, int64_t causal_row, HiddenRows hidden_rows);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_MASKED_SOFTMAX_H_
