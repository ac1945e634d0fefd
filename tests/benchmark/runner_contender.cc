#include "tests/benchmark/runner_contender.h"

#include <ATen/Parallel.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/memory/allocation_counter.h"
#include "tests/benchmark/model_inputs.h"

namespace attribution::benchmark {

RunnerContender::RunnerContender(const std::string& repository, const ModelFacts& model, int threads)
    : model_(model) {
  at::set_num_threads(threads);
  auto runner = capture::LoadTorchScript(
      absl::StrCat(repository, "/", model.name, "/", model.version, "/model.pt"), {});
  Require(runner.status());
  runner_ = *std::move(runner);
}

Memory RunnerContender::Prepare(const Shape& shape, int warm_ups) {
  inputs_ = ModelInputsOf(shape, model_);
  Run(warm_ups);
  memory::AllocationCounter counter;
  const memory::AllocationScope scope(counter);
  Run(1);
  Memory memory;
  memory.peak_bytes = counter.peak_bytes();
  memory.attention_bytes = counter.attention_peak_bytes();
  return memory;
}

}  // namespace attribution::benchmark
