// Shows attention that exists as a whole to an observer, as if it were computed in blocks.
#ifndef SERVER_CAPTURE_WHOLE_ATTENTION_H_
#define SERVER_CAPTURE_WHOLE_ATTENTION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "server/capture/attention_observer.h"

namespace attribution::capture {

// Shows `probabilities` as one execution of `site`: [B, H, S, S], or [B·H, S, S] with the heads of each
// sequence one after the other; what has another shape by OtherShape. Returns false if the observer wants no
// more.
bool ShowProbabilities(const at::Tensor& probabilities, int32_t site, int64_t heads,
                       AttentionObserver& observer);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_WHOLE_ATTENTION_H_
