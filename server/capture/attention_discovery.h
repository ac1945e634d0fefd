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
  std::vector<int32_t> site_of;       // for each candidate: its site, a number beyond the sites, or kNotASite
  std::vector<int32_t> folded_heads;  // for each candidate: heads of a sequence, see RewriteAttention
  std::vector<AttentionSite> sites;   // in graph order
  std::vector<SkippedSite> skipped;   // with the reason
  std::vector<std::vector<int32_t>> runs;  // for each batch, the site of each layer in order of execution
  std::vector<int32_t> execution_order;    // of the batch that ran most layers, [L]
  std::vector<int32_t> site_heads;         // heads of each site
  std::vector<LengthRule> site_lengths;    // positions of each site
  bool depends_on_input = false;           // other batches ran other layers
};

// Runs the graph on every batch with all candidates observed. A candidate is a site if it runs, over the
// batch's own sequences whenever it does (of a batch of any length: at a length that follows the input's),
// with rows that sum to 1 where it is a softmax, unless it is cross attention, and if its path matches
// `pattern` (RE2, partial; empty matches all). A candidate of a branch that never ran is no site, but has a
// number beyond them, so that it does not run unseen later. FAILED_PRECONDITION if the pattern does not
// compile; the model's own error if it throws.
absl::StatusOr<DiscoveredAttention> DiscoverAttention(const torch::jit::Module& module,
                                                      const InlinedGraph& inlined,
                                                      const std::vector<WarmUpBatch>& batches,
                                                      const std::string& pattern);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_ATTENTION_DISCOVERY_H_
