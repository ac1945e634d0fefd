// The graph pass that makes attention visible: fused nodes and written-out attention become operators that
// compute it in blocks, other softmaxes get a tap behind them.
#ifndef SERVER_CAPTURE_REWRITE_ATTENTION_H_
#define SERVER_CAPTURE_REWRITE_ATTENTION_H_

#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <vector>

namespace attribution::capture {

// Leaves a candidate as it is.
inline constexpr int32_t kNotASite = -1;

// Gives the graph one more input, the observer, and rewrites candidate i (of CandidateNodes) as site
// `site_of[i]`, unless that is kNotASite. A softmax with `in_blocks[i]` is replaced together with the
// products and the operators around it; any other is tapped. `heads[i]` are the heads of a sequence where
// batch and heads are one dimension. REQUIRES: site_of has an entry for each candidate, and so have in_blocks
// and heads unless they are empty, which means none and 1; where in_blocks is true, the softmax is of kind
// kBlocked.
void RewriteAttention(torch::jit::Graph& graph, const std::vector<int32_t>& site_of,
                      const std::vector<bool>& in_blocks = {}, const std::vector<int32_t>& heads = {});

// Puts a tap behind `softmax`: whatever reads its value reads the tap's.
void TapSoftmax(torch::jit::Graph& graph, torch::jit::Node* softmax, int32_t site, int64_t heads,
                torch::jit::Value* observer);

// Drops the graph's outputs and all that served only them. The rewritten nodes have side effects, so they and
// what they need stay, in every branch; what follows the last of them goes, and an attention output that
// nobody reads is not computed.
void CutAfterLastSite(torch::jit::Graph& graph);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_REWRITE_ATTENTION_H_
