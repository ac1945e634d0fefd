#include "tests/benchmark/model_inputs.h"

#include <ATen/ATen.h>

#include <stdexcept>
#include <string>

#include "absl/strings/str_cat.h"

namespace attribution::benchmark {

std::vector<at::Tensor> ModelInputsOf(const Shape& shape, const ModelFacts& model) {
  std::vector<at::Tensor> rows;
  for (const TokenSequence& sequence : SequencesOf(shape, model))
    rows.push_back(at::tensor(sequence.input_ids, at::kLong));
  const at::Tensor ids = at::stack(rows);
  std::vector<at::Tensor> inputs;
  for (const std::string& input : model.inputs) {
    if (input == "input_ids") {
      inputs.push_back(ids);
    } else if (input == "attention_mask") {
      inputs.push_back(at::ones_like(ids));
    } else if (input == "token_type_ids") {
      inputs.push_back(at::zeros_like(ids));
    } else {
      throw std::invalid_argument(
          absl::StrCat("The benchmark cannot make the input \"", input, "\" of this model."));
    }
  }
  return inputs;
}

}  // namespace attribution::benchmark
