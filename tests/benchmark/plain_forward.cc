#include "tests/benchmark/plain_forward.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <torch/script.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "server/memory/allocation_counter.h"

namespace attribution::benchmark {

struct PlainForward::Module {
  torch::jit::Module module;
  std::vector<c10::IValue> batch;
};

PlainForward::PlainForward(const std::string& repository, const ModelFacts& model, int threads)
    : model_(model),
      module_(new Module{
          torch::jit::load(absl::StrCat(repository, "/", model.name, "/", model.version, "/model.pt")), {}}) {
  at::set_num_threads(threads);
  module_->module.eval();
}

PlainForward::~PlainForward() = default;

Memory PlainForward::Prepare(const Shape& shape) {
  std::vector<at::Tensor> rows;
  for (const TokenSequence& sequence : SequencesOf(shape, model_))
    rows.push_back(at::tensor(sequence.input_ids, at::kLong));
  const at::Tensor ids = at::stack(rows);
  module_->batch.clear();
  for (const std::string& input : model_.inputs) {
    if (input == "input_ids") {
      module_->batch.emplace_back(ids);
    } else if (input == "attention_mask") {
      module_->batch.emplace_back(at::ones_like(ids));
    } else if (input == "token_type_ids") {
      module_->batch.emplace_back(at::zeros_like(ids));
    } else {
      throw std::invalid_argument(
          absl::StrCat("The benchmark cannot make the input \"", input, "\" of this model."));
    }
  }
  Run(kWarmUps);
  memory::AllocationCounter counter;
  const memory::AllocationScope scope(counter);
  Run(1);
  Memory memory;
  memory.peak_bytes = counter.peak_bytes();
  return memory;
}

double PlainForward::Run(int64_t repetitions) {
  const c10::InferenceMode inference;
  return SecondsPerRun(repetitions, [this] { module_->module.forward(module_->batch); });
}

}  // namespace attribution::benchmark
