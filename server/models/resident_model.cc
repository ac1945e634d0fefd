#include "server/models/resident_model.h"

#include "absl/strings/str_cat.h"

namespace attribution::models {

ModelInfo ResidentModel::info() const {
  const capture::ModelDescription& description = runner->description();
  ModelInfo info;
  info.name = name;
  info.version = absl::StrCat(version);
  info.state = ModelState::kServing;
  info.sha256 = sha256;
  info.device = description.device.str();
  info.num_layers = static_cast<int32_t>(description.execution_order.size());
  info.num_heads = description.num_heads;
  info.vocabulary_size = description.vocabulary_size;
  info.max_sequence_length = description.max_sequence_length;
  for (const capture::RunnerInput& input : description.inputs) {
    info.inputs.push_back(ModelInput{input.name, input.dtype, input.shape});
  }
  info.patch_grid = manifest.patch_grid;
  info.has_tokenizer = tokenizer != nullptr;
  info.sites = description.sites;
  info.skipped = description.skipped;
  info.resident_bytes = description.resident_bytes;
  return info;
}

}  // namespace attribution::models
