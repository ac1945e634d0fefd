// Replaces the tanh approximation of GELU, where a model writes it out, by the operator that computes it.
//
// GPT-2 and its kin write it out in eight operators, each a pass over the widest tensor of a layer: a sixth
// of a forward pass, and its peak of memory.
#ifndef SERVER_CAPTURE_FUSE_GELU_H_
#define SERVER_CAPTURE_FUSE_GELU_H_

#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>

namespace attribution::capture {

// Replaces 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))) by aten::gelu(x, "tanh") wherever nothing else reads a
// value in between (Hendrycks & Gimpel 2016, section 2). Returns how many were replaced.
int64_t FuseGelu(torch::jit::Graph& graph);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_FUSE_GELU_H_
