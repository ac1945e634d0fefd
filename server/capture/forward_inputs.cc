#include "server/capture/forward_inputs.h"

#include <algorithm>
#include <array>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace attribution::capture {
namespace {

struct KnownInput {
  const char* name;
  InputRole role;
};

constexpr std::array<KnownInput, 3> kByPlace = {KnownInput{"input_ids", InputRole::kInputIds},
                                                KnownInput{"attention_mask", InputRole::kAttentionMask},
                                                KnownInput{"token_type_ids", InputRole::kTokenTypeIds}};

// Arguments of Hugging Face models whose names say that they are none of those above.
constexpr std::array<const char*, 8> kNeverByPlace = {
    "position_ids",          "head_mask",        "inputs_embeds",       "labels", "past_key_values",
    "encoder_hidden_states", "key_padding_mask", "src_key_padding_mask"};

const KnownInput* FindByName(const std::string& name) {
  for (const KnownInput& known : kByPlace) {
    if (name == known.name) return &known;
  }
  return nullptr;
}

bool HasRole(const std::vector<RunnerInput>& inputs, InputRole role) {
  for (const RunnerInput& input : inputs) {
    if (input.role == role) return true;
  }
  return false;
}

// Arguments are given in order, so none that a request provides may stand behind one that is left to its
// default.
absl::Status CheckNothingHidden(const std::vector<c10::Argument>& arguments, size_t left_out) {
  for (size_t i = left_out + 1; i < arguments.size(); ++i) {
    if (FindByName(arguments[i].name()) == nullptr) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("An input of the model stands behind one that no request can provide. Argument \"",
                     arguments[i].name(), "\" follows \"", arguments[left_out].name(),
                     "\". Export a forward(input_ids, attention_mask, token_type_ids)."));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<RunnerInput>> BindForwardInputs(const c10::FunctionSchema& schema,
                                                           const std::vector<std::string>& names,
                                                           const std::vector<ModelInput>& declared) {
  std::vector<RunnerInput> inputs;
  const std::vector<c10::Argument>& arguments = schema.arguments();
  for (size_t i = 1; i < arguments.size(); ++i) {
    const size_t place = i - 1;
    const bool named = place < names.size();
    const std::string& name = named ? names[place] : arguments[i].name();
    const KnownInput* known = FindByName(name);
    const auto form =
        std::find_if(declared.begin(), declared.end(), [&](const ModelInput& d) { return d.name == name; });
    if (named && form != declared.end()) {
      inputs.push_back({name, known == nullptr ? InputRole::kOther : known->role, form->dtype, form->shape});
      continue;
    }
    if (!named && known == nullptr) {
      if (arguments[i].default_value().has_value()) {
        if (absl::Status status = CheckNothingHidden(arguments, i); !status.ok()) return status;
        break;
      }
      const bool speaks = std::find(kNeverByPlace.begin(), kNeverByPlace.end(), name) != kNeverByPlace.end();
      if (!speaks && place < kByPlace.size()) known = &kByPlace[place];
    }
    if (known == nullptr || HasRole(inputs, known->role)) {
      return absl::FailedPreconditionError(
          absl::StrCat("The model's forward method needs an input that no request can provide. Argument ", i,
                       " is \"", name,
                       "\". Export a forward(input_ids, attention_mask, token_type_ids), or name the inputs "
                       "in manifest.yaml."));
    }
    RunnerInput& input = inputs.emplace_back();
    input.name = known->name;
    input.role = known->role;
  }
  if (names.size() > inputs.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat("manifest.yaml names more inputs than the model takes. It names ", names.size(),
                     ", forward takes ", inputs.size(), ". Remove the last ones."));
  }
  if (!TakesTensors(inputs) && !HasRole(inputs, InputRole::kInputIds)) {
    return absl::FailedPreconditionError(
        "The model's forward method takes no input_ids. Export a forward(input_ids, attention_mask).");
  }
  return inputs;
}

}  // namespace attribution::capture
