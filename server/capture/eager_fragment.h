// Puts one node in the place of an eager attention: attribution::eager_attention, which holds what it
// replaces as a graph of its own, the fragment.
#ifndef SERVER_CAPTURE_EAGER_FRAGMENT_H_
#define SERVER_CAPTURE_EAGER_FRAGMENT_H_

#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>

#include "server/capture/eager_attention.h"

namespace attribution::capture {

// Replaces the nodes of `attention` in `graph`. The new node and its fragment have the same inputs: all that
// the nodes read from outside, constants excepted, and `observer` last, which the fragment does not read.
// `heads`: those of a sequence if batch and heads are one dimension all the way.
// REQUIRES: `attention` was recognised, and nothing that its nodes read is changed in place between
// the first and the last of them (GatherNodes).
void ReplaceByFragment(torch::jit::Graph& graph, const EagerAttention& attention, int32_t site, int64_t heads,
                       torch::jit::Value* observer);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_EAGER_FRAGMENT_H_
