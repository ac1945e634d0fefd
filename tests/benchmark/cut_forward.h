// CutForward runs the forward pass as far as attribution needs it, and captures nothing.
//
// The graph is the one that the engine runs, cut after its last attention, but its observer wants no layer:
// attention is then the fused operator of the file. What attribution takes beyond this is its own doing.
// Not thread-safe, and for one thread: the one that makes it.
#ifndef TESTS_BENCHMARK_CUT_FORWARD_H_
#define TESTS_BENCHMARK_CUT_FORWARD_H_

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "server/capture/model_runner.h"
#include "tests/benchmark/contender.h"

namespace attribution::benchmark {

class CutForward : public Contender {
 public:
  // Loads the model from `repository`, to be run with `threads` threads.
  CutForward(const std::string& repository, const ModelFacts& model, int threads);

  // Memory: what torch held for one run, above model and inputs.
  Memory Prepare(const Shape& shape, int warm_ups) override;
  double Run(int64_t repetitions) override;

 private:
  const ModelFacts model_;
  std::unique_ptr<capture::ModelRunner> runner_;
  std::vector<at::Tensor> inputs_;
};

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_CUT_FORWARD_H_
