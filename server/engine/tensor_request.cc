#include "server/engine/tensor_request.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"

namespace attribution::engine {
namespace {

using capture::ModelDescription;

absl::Status NotTensors(const AttributionInput& input, const models::ResidentModel& model) {
  const bool none = std::holds_alternative<std::monostate>(input);
  const char* field = none ? "input" : std::holds_alternative<TextBatch>(input) ? "text" : "tokens";
  return InvalidField(
      field, absl::StrCat(none ? "The request has no input. \"" : "The model takes tensors. \"", model.name,
                          "\" takes ", DescribeInputs(model.runner->description().inputs),
                          ". Send them as tensors."));
}

std::string LayerText(const ModelDescription& description, int32_t layer, int32_t site, int64_t length) {
  return absl::StrCat("layer ", layer, " (", description.sites[site].module_path, ") is [B, ",
                      description.site_heads[site], ", ", length, ", ", length, "]");
}

// The length that every chosen layer has.
absl::StatusOr<int64_t> AttentionLength(const ModelDescription& description, const LayerSelection& layers,
                                        int64_t input_length) {
  const int32_t first_site = layers.SiteOf(0);
  const int64_t first = description.LengthOf(first_site, input_length);
  for (int32_t layer = 1; layer < layers.size(); ++layer) {
    const int32_t site = layers.SiteOf(layer);
    const int64_t length = description.LengthOf(site, input_length);
    if (length == first) continue;
    return InvalidField(
        "options.attention_layer_pattern",
        absl::StrCat("The layers differ in length. ", LayerText(description, 0, first_site, first), ", ",
                     LayerText(description, layer, site, length),
                     ". Choose layers of one length with attention_layer_pattern."));
  }
  return first;
}

// Whether the chosen layers attend over the positions of `input`, [B, n]. A length that is fixed may be that
// of an input of free length by chance.
bool ArePositionsOf(const capture::RunnerInput& input, const ModelDescription& description,
                    const LayerSelection& layers) {
  const bool free = input.shape[1] < 0;
  for (int32_t layer = 0; layer < layers.size(); ++layer) {
    const auto site = static_cast<size_t>(layers.SiteOf(layer));
    const bool known = site < description.site_lengths.size();
    const capture::LengthRule rule = known ? description.site_lengths[site] : capture::LengthRule{};
    if (free ? rule != capture::LengthRule{} : !rule.fixed()) return false;
  }
  return true;
}

// The masks of sequences whose attention has `length` positions.
std::vector<std::vector<int32_t>> MasksFor(const ModelDescription& description, const LayerSelection& layers,
                                           const TensorInputs& tensors, int64_t length) {
  for (size_t i = 0; i < description.inputs.size(); ++i) {
    const capture::RunnerInput& input = description.inputs[i];
    const at::Tensor& tensor = tensors.tensors[i];
    const bool is_mask = input.role == capture::InputRole::kAttentionMask && tensor.dim() == 2;
    if (is_mask && tensor.size(1) == length && ArePositionsOf(input, description, layers))
      return MasksOf(tensor);
  }
  return {};
}

}  // namespace

absl::StatusOr<TensorInputs> PrepareTensors(AttributionInput input, const models::ResidentModel& model,
                                            const LayerSelection& layers, const TensorRanges& ranges,
                                            int64_t server_max_length) {
  auto* batch = std::get_if<TensorBatch>(&input);
  if (batch == nullptr) return NotTensors(input, model);
  const ModelDescription& description = model.runner->description();
  auto tensors = ReadTensors(std::move(*batch), description.inputs, ranges);
  if (!tensors.ok()) return tensors.status();
  const auto length = AttentionLength(description, layers, tensors->input_length);
  if (!length.ok()) return length.status();
  if (*length < 1) {
    return InvalidField("tensors", absl::StrCat("The input is too short for any position of attention. Its "
                                                "free dimensions are ",
                                                tensors->input_length, ". Send a longer one."));
  }
  if (server_max_length > 0 && *length > server_max_length) {
    return InvalidField("tensors", absl::StrCat("The attention is longer than the server takes. It has ",
                                                *length, " positions; at most ", server_max_length,
                                                " are taken. Send a shorter input."));
  }
  tensors->attention_length = *length;
  tensors->masks = MasksFor(description, layers, *tensors, *length);
  return tensors;
}

}  // namespace attribution::engine
