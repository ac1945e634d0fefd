// Finds out by running a model which of its candidates are self-attention, and in which order they run.
#ifndef SERVER_CAPTURE_ATTENTION_DISCOVERY_H_
#define SERVER_CAPTURE_ATTENTION_DISCOVERY_H_

#include <torch/csrc/jit/api/module.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "attribution/model_info.h"
#include "server/capture/inlined_graph.h"
#include "server/capture/warm_up.h"

namespace attribution::capture {

struct DiscoveredAttention {
  std::vector<int32_t> site_of;          // for each candidate: its site, or kNotASite
  std::vector<AttentionSite> sites;      // in graph order
  std::vector<SkippedSite> skipped;      // with the reason
  std::vector<int32_t> execution_order;  // site of each layer, in order of execution, [L]
  std::vector<int32_t> site_heads;       // heads of each site
};

// Runs the graph on every batch with all candidates observed. A candidate is a site if it runs in every
// batch, equally often, over the batch's own sequences, with rows that sum to 1 where it is a softmax, and if
// its path matches `pattern` (RE2, partial; empty matches all). FAILED_PRECONDITION if the pattern does not
// compile; the model's own error if it throws.
absl::StatusOr<DiscoveredAttention> DiscoverAttention(const torch::jit::Module& module,
                                                      const InlinedGraph& inlined,
                                                      const std::vector<WarmUpBatch>& batches,
                                                      const std::string& pattern);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_ATTENTION_DISCOVERY_H_
