// Takes the input of a request to a model that does not take tokens.
//
// Pure functions; any thread.
#ifndef SERVER_ENGINE_TENSOR_REQUEST_H_
#define SERVER_ENGINE_TENSOR_REQUEST_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "attribution/request.h"
#include "server/engine/layer_selection.h"
#include "server/engine/tensor_inputs.h"
#include "server/models/resident_model.h"

namespace attribution::engine {

// Checks the tensors of `input` and finds the length of the attention of the chosen layers. Positions are
// valid where the input `attention_mask` says so, if they are its positions; else all are.
// `server_max_length`: the operator's bound of input and attention, 0 if there is none. INVALID_ARGUMENT for
// another kind of input, for tensors that ReadTensors refuses, for layers that differ in length.
absl::StatusOr<TensorInputs> PrepareTensors(AttributionInput input, const models::ResidentModel& model,
                                            const LayerSelection& layers, const TensorRanges& ranges,
                                            int64_t server_max_length);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_TENSOR_REQUEST_H_
