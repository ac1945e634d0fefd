// Proves a rewritten graph against the original before the model serves.
#ifndef SERVER_CAPTURE_SELF_CHECK_H_
#define SERVER_CAPTURE_SELF_CHECK_H_

#include <torch/csrc/jit/api/module.h>

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "attribution/model_info.h"
#include "server/capture/graph_plan.h"
#include "server/capture/recording_observer.h"
#include "server/capture/warm_up.h"

namespace attribution::capture {

// Checks on one batch that `rewritten` gives the outputs of the original, that it and `cut` show every layer
// in `order`, and that the rows of valid positions sum to one. `expected`: the original's outputs. Returns
// the layers as `cut` showed them; FAILED_PRECONDITION with the figure that is off: a model that fails must
// not serve.
absl::StatusOr<std::vector<RecordedLayer>> CheckRewrittenGraph(
    const torch::jit::Module& module, const GraphPlan& rewritten, const GraphPlan& cut,
    const std::vector<AttentionSite>& sites, const std::vector<int32_t>& order, const WarmUpBatch& batch,
    const torch::jit::Stack& expected);

// Whether every floating point output is finite.
bool AllFinite(const torch::jit::Stack& outputs);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_SELF_CHECK_H_
