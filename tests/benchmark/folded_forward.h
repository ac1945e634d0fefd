// FoldedForward runs the forward pass as far as attribution needs it and folds its attention into rollouts,
// without the rest of an engine, so that one thing can be varied: whether what a mask hides is computed.
//
// Not thread-safe, and for one thread: the one that makes it.
#ifndef TESTS_BENCHMARK_FOLDED_FORWARD_H_
#define TESTS_BENCHMARK_FOLDED_FORWARD_H_

#include <string>

#include "tests/benchmark/runner_contender.h"

namespace attribution::benchmark {

class FoldedForward : public RunnerContender {
 public:
  // Loads the model from `repository`, to be run with `threads` threads. `whole_rows`: nothing is left out.
  FoldedForward(const std::string& repository, const ModelFacts& model, int threads, bool whole_rows);

  double Run(int64_t repetitions) override;

  // Of the rollouts alone.
  Metrics Result() override { return metrics_; }

 private:
  const bool whole_rows_;
  Metrics metrics_;
};

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_FOLDED_FORWARD_H_
