#include "tests/benchmark/cut_forward.h"

#include <ATen/Parallel.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/memory/allocation_counter.h"
#include "tests/benchmark/model_inputs.h"

namespace attribution::benchmark {
namespace {

class IndifferentObserver : public capture::AttentionObserver {
 public:
  bool BeginLayer(const capture::LayerShape&) override { return false; }
  void AddRows(int64_t, int64_t, const at::Tensor&) override {}
  void EndSequence(int64_t) override {}
  bool EndLayer() override { return true; }
};

}  // namespace

CutForward::CutForward(const std::string& repository, const ModelFacts& model, int threads) : model_(model) {
  at::set_num_threads(threads);
  auto runner = capture::LoadTorchScript(
      absl::StrCat(repository, "/", model.name, "/", model.version, "/model.pt"), {});
  Require(runner.status());
  runner_ = *std::move(runner);
}

Memory CutForward::Prepare(const Shape& shape, int warm_ups) {
  inputs_ = ModelInputsOf(shape, model_);
  Run(warm_ups);
  memory::AllocationCounter counter;
  const memory::AllocationScope scope(counter);
  Run(1);
  Memory memory;
  memory.peak_bytes = counter.peak_bytes();
  return memory;
}

double CutForward::Run(int64_t repetitions) {
  IndifferentObserver observer;
  return SecondsPerRun(repetitions, [&] { Require(runner_->Run(inputs_, observer)); });
}

}  // namespace attribution::benchmark
