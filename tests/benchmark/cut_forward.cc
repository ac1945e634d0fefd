#include "tests/benchmark/cut_forward.h"

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

double CutForward::Run(int64_t repetitions) {
  IndifferentObserver observer;
  return SecondsPerRun(repetitions, [&] { Require(runner().Run(inputs(), observer)); });
}

}  // namespace attribution::benchmark
