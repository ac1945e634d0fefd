// Runs a model on made-up inputs and measures what its forward pass allocates, and when.
#ifndef SERVER_CAPTURE_MEASURED_COST_H_
#define SERVER_CAPTURE_MEASURED_COST_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "server/capture/model_runner.h"

namespace attribution::capture {

// Measures the cost of a model that is loaded but for it. `shortest_length`: of the inputs of free length
// that the model is known to take. The model's own error if it throws.
absl::StatusOr<ActivationCost> MeasureActivationCost(const ModelRunner& runner, int64_t shortest_length);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_MEASURED_COST_H_
