// FoldedForward runs the forward pass as far as attribution needs it and folds its attention into rollouts,
// without the rest of an engine, so that one thing can be varied: whether what a mask hides is computed.
//
// Not thread-safe, and for one thread: the one that makes it.
#ifndef TESTS_BENCHMARK_FOLDED_FORWARD_H_
#define TESTS_BENCHMARK_FOLDED_FORWARD_H_

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "server/capture/model_runner.h"
#include "tests/benchmark/contender.h"

namespace attribution::benchmark {

class FoldedForward : public Contender {
 public:
  // Loads the model from `repository`, to be run with `threads` threads. `whole_rows`: nothing is left out.
  FoldedForward(const std::string& repository, const ModelFacts& model, int threads, bool whole_rows);

  // Memory: what torch held for one run, above model and inputs.
  Memory Prepare(const Shape& shape, int warm_ups) override;
  double Run(int64_t repetitions) override;

  // Of the rollouts alone.
  Metrics Result() override { return metrics_; }

 private:
  const ModelFacts model_;
  const bool whole_rows_;
  std::unique_ptr<capture::ModelRunner> runner_;
  std::vector<at::Tensor> inputs_;
  Metrics metrics_;
};

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_FOLDED_FORWARD_H_
