#include "tests/benchmark/plain_forward.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <torch/script.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "server/memory/allocation_counter.h"
#include "tests/benchmark/model_inputs.h"

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

Memory PlainForward::Prepare(const Shape& shape, int warm_ups) {
  const std::vector<at::Tensor> inputs = ModelInputsOf(shape, model_);
  module_->batch.assign(inputs.begin(), inputs.end());
  Run(warm_ups);
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
