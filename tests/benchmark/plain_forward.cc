#include "tests/benchmark/plain_forward.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <torch/script.h>

#include <stdexcept>

#include "absl/time/clock.h"
#include "server/memory/allocation_counter.h"

namespace attribution::benchmark {

struct PlainForward::Module {
  torch::jit::Module module;
  std::vector<std::string> inputs;
  std::vector<c10::IValue> batch;
};

PlainForward::PlainForward(const std::string& path, const std::vector<ModelInput>& inputs)
    : module_(new Module{torch::jit::load(path), {}, {}}) {
  module_->module.eval();
  for (const ModelInput& input : inputs) module_->inputs.push_back(input.name);
}

PlainForward::~PlainForward() = default;

void PlainForward::SetBatch(const std::vector<TokenSequence>& sequences) {
  std::vector<at::Tensor> rows;
  for (const TokenSequence& sequence : sequences) rows.push_back(at::tensor(sequence.input_ids, at::kLong));
  const at::Tensor ids = at::stack(rows);
  module_->batch.clear();
  for (const std::string& input : module_->inputs) {
    if (input == "input_ids") {
      module_->batch.emplace_back(ids);
    } else if (input == "attention_mask") {
      module_->batch.emplace_back(at::ones_like(ids));
    } else if (input == "token_type_ids") {
      module_->batch.emplace_back(at::zeros_like(ids));
    } else {
      throw std::invalid_argument("The benchmark cannot make the input \"" + input + "\" of this model.");
    }
  }
}

double PlainForward::Run() {
  const c10::InferenceMode inference;
  const absl::Time start = absl::Now();
  module_->module.forward(module_->batch);
  return absl::ToDoubleSeconds(absl::Now() - start);
}

int64_t PlainForward::MeasurePeakBytes() {
  memory::AllocationCounter counter;
  const memory::AllocationScope scope(counter);
  Run();
  return counter.peak_bytes();
}

}  // namespace attribution::benchmark
