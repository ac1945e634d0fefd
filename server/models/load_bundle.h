// Brings one bundle from disk into memory.
//
// Thread-safe as far as the ModelLoader is.
#ifndef SERVER_MODELS_LOAD_BUNDLE_H_
#define SERVER_MODELS_LOAD_BUNDLE_H_

#include <c10/core/Device.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/capture/model_runner.h"
#include "server/models/model_repository.h"
#include "server/models/resident_model.h"

namespace attribution::models {

// Loads a model.pt; capture::LoadTorchScript in the server. Its error is a sentence for the operator.
using ModelLoader = std::function<absl::StatusOr<std::unique_ptr<capture::ModelRunner>>(
    const std::string& path, const capture::LoadOptions& options)>;

// Reads the manifest, compares the sha256, loads the tokenizer, then the model: what is quick to refuse comes
// first. FAILED_PRECONDITION, one line without paths, for whatever is wrong with the bundle. Never throws,
// even if `loader` does.
absl::StatusOr<std::shared_ptr<const ResidentModel>> LoadBundle(const BundlePaths& bundle, c10::Device device,
                                                                const ModelLoader& loader);

}  // namespace attribution::models

#endif  // SERVER_MODELS_LOAD_BUNDLE_H_
