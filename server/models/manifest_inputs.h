// Reads what a manifest declares about tensors: an input's dtype and shape, and the grid of patches.
//
// Pure functions; any thread.
#ifndef SERVER_MODELS_MANIFEST_INPUTS_H_
#define SERVER_MODELS_MANIFEST_INPUTS_H_

#include <yaml-cpp/yaml.h>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "attribution/model_info.h"

namespace attribution::models {

// Reads `{name, dtype, shape}`, all three given: shape with -1 where free, dimension 0 always so.
// FAILED_PRECONDITION with the line and `key`.
absl::StatusOr<ModelInput> ReadDeclaredInput(const YAML::Node& node, absl::string_view key);

// Reads `{rows, columns, first_position}`; first_position is 0 if absent. FAILED_PRECONDITION as above.
absl::StatusOr<PatchGrid> ReadPatchGrid(const YAML::Node& node, absl::string_view key);

}  // namespace attribution::models

#endif  // SERVER_MODELS_MANIFEST_INPUTS_H_
