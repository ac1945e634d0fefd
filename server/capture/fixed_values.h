// Decides beforehand what a graph would decide anew in every run, although it never changes.
#ifndef SERVER_CAPTURE_FIXED_VALUES_H_
#define SERVER_CAPTURE_FIXED_VALUES_H_

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

#include <memory>

namespace attribution::capture {

// Makes constants of the flags, numbers and texts of the module that its graph reads and never sets, and of
// what inference fixes: no gradients, no autocast, no training. Branches that are then known disappear, and
// so do the other ones, with the attention in them. Asks nn.TransformerEncoder not to pack padded sequences
// into nested tensors. `graph`: the module, then the arguments of forward; no calls are left.
void FoldFixedValues(const torch::jit::Module& module, std::shared_ptr<torch::jit::Graph>& graph);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_FIXED_VALUES_H_
