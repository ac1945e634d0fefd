// Finds out which layers a model runs on one input, where that depends on the input.
#ifndef SERVER_ENGINE_LAYERS_OF_INPUT_H_
#define SERVER_ENGINE_LAYERS_OF_INPUT_H_

#include <ATen/core/Tensor.h>

#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/request_intake.h"

namespace attribution::engine {

// Runs the model once on `inputs`, its attention only counted, and returns `request` with the layers that ran
// and the options resolved against their number: a layer number of -1 is the last that this input runs. The
// model's error if it fails; INVALID_ARGUMENT for a layer that this input does not run.
absl::StatusOr<PreparedRequest> WithLayersOfInput(const PreparedRequest& request,
                                                  const std::vector<at::Tensor>& inputs);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_LAYERS_OF_INPUT_H_
