// CutForward runs the forward pass as far as attribution needs it, and captures nothing.
//
// The graph is the one that the engine runs, cut after its last attention, but its observer wants no layer:
// attention is then the fused operator of the file. What attribution takes beyond this is its own doing.
// Not thread-safe, and for one thread: the one that makes it.
#ifndef TESTS_BENCHMARK_CUT_FORWARD_H_
#define TESTS_BENCHMARK_CUT_FORWARD_H_

#include "tests/benchmark/runner_contender.h"

namespace attribution::benchmark {

class CutForward : public RunnerContender {
 public:
  using RunnerContender::RunnerContender;

  double Run(int64_t repetitions) override;
};

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_CUT_FORWARD_H_
