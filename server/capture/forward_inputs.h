// Binds the arguments of a model's forward method to what a request can provide.
#ifndef SERVER_CAPTURE_FORWARD_INPUTS_H_
#define SERVER_CAPTURE_FORWARD_INPUTS_H_

#include <ATen/core/function_schema.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/capture/model_runner.h"

namespace attribution::capture {

// The inputs of `forward` in order, the module itself left out. Names come from `names` if given, else from
// the schema; a name that says nothing is understood by its place: input_ids, attention_mask, token_type_ids.
// Trailing arguments that have a default are left to it. FAILED_PRECONDITION for an argument that no request
// can provide.
//
// An input in `declared`, known by its name, may be called anything and has its dtype and shape from there.
absl::StatusOr<std::vector<RunnerInput>> BindForwardInputs(const c10::FunctionSchema& schema,
                                                           const std::vector<std::string>& names,
                                                           const std::vector<ModelInput>& declared = {});

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_FORWARD_INPUTS_H_
