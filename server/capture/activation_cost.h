// Measures what a model's forward pass allocates, so that admission can predict it.
#ifndef SERVER_CAPTURE_ACTIVATION_COST_H_
#define SERVER_CAPTURE_ACTIVATION_COST_H_

#include <functional>

#include "absl/status/statusor.h"
#include "server/capture/model_runner.h"

namespace attribution::capture {

// Fits ActivationCost on four short runs, and never below any of them. `peak_bytes(B, S)` runs the model on a
// batch of that shape, its attention not observed, and returns the peak of the bytes it allocated.
// `max_length`: the longest sequence, 0 if unlimited. `short_length`: of the short runs, lower for one of
// them.
absl::StatusOr<ActivationCost> FitActivationCost(
    const std::function<absl::StatusOr<int64_t>(int64_t batch, int64_t length)>& peak_bytes,
    int64_t max_length, int64_t short_length = 16);

// The same for a model whose inputs are all of fixed size, its longest site of `length` positions:
// `peak_bytes(B)` runs it on B sequences.
absl::StatusOr<ActivationCost> FitActivationCostOfFixedSize(
    const std::function<absl::StatusOr<int64_t>(int64_t batch)>& peak_bytes, int64_t length);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_ACTIVATION_COST_H_
