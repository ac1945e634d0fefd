// Fits what a model's forward pass allocates, so that admission can predict it.
//
// Pure functions; any thread, if what they call allows it.
#ifndef SERVER_CAPTURE_ACTIVATION_COST_H_
#define SERVER_CAPTURE_ACTIVATION_COST_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "server/capture/model_runner.h"

namespace attribution::capture {

// The most bytes above the resident model in one run, at each kind of moment; fields as in ActivationCost.
struct MeasuredRun {
  int64_t forward_bytes = 0;
  int64_t attention_bytes = 0;
  double score_bytes_per_cell = 0;
};

// Fits ActivationCost, a range on seven short runs for each of `lengths`, and never below any of them.
// `run(B, S)` runs the model on a batch of that shape. The runs of length s are s to 3·s long, of many
// sequences s / 2; s is lower where `max_length`, the longest sequence, asks for it (0: unlimited). A range
// that the model refuses is left out; if it refuses all, runs of 1 to 3 positions are tried, and its error is
// returned if it refuses those too. REQUIRES: lengths ascend, each at
// least 1.
absl::StatusOr<ActivationCost> FitActivationCost(
    const std::function<absl::StatusOr<MeasuredRun>(int64_t batch, int64_t length)>& run, int64_t max_length,
    const std::vector<int64_t>& lengths);

// The same for a model whose inputs are all of fixed size, its longest site of `length` positions: `run(B)`
// runs it on B sequences.
absl::StatusOr<ActivationCost> FitActivationCostOfFixedSize(
    const std::function<absl::StatusOr<MeasuredRun>(int64_t batch)>& run, int64_t length);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_ACTIVATION_COST_H_
