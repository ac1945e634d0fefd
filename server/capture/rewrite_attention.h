// The graph pass that makes attention visible: fused nodes become the blocked operator, softmaxes get a tap
// behind them.
#ifndef SERVER_CAPTURE_REWRITE_ATTENTION_H_
#define SERVER_CAPTURE_REWRITE_ATTENTION_H_

#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <vector>

namespace attribution::capture {

// Leaves a candidate as it is.
inline constexpr int32_t kNotASite = -1;

// Gives the graph one more input, the observer, and rewrites candidate i (of CandidateNodes) as site
// `site_of[i]`, unless that is kNotASite. REQUIRES: site_of has an entry for each candidate.
void RewriteAttention(torch::jit::Graph& graph, const std::vector<int32_t>& site_of);

// Drops the graph's outputs and all that served only them. The rewritten nodes have side effects, so they and
// what they need stay, in every branch; what follows the last of them goes, and an attention output that
// nobody reads is not computed.
void CutAfterLastSite(torch::jit::Graph& graph);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_REWRITE_ATTENTION_H_
