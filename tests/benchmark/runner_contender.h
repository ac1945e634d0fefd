// RunnerContender runs a model by its runner alone, without the rest of an engine.
//
// Not thread-safe, and for one thread: the one that makes it.
#ifndef TESTS_BENCHMARK_RUNNER_CONTENDER_H_
#define TESTS_BENCHMARK_RUNNER_CONTENDER_H_

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "server/capture/model_runner.h"
#include "tests/benchmark/contender.h"

namespace attribution::benchmark {

class RunnerContender : public Contender {
 public:
  // Loads the model from `repository`, to be run with `threads` threads.
  RunnerContender(const std::string& repository, const ModelFacts& model, int threads);

  // Memory: what torch held for one run, above model and inputs.
  Memory Prepare(const Shape& shape, int warm_ups) override;

 protected:
  const ModelFacts& model() const { return model_; }
  const capture::ModelRunner& runner() const { return *runner_; }
  const std::vector<at::Tensor>& inputs() const { return inputs_; }

 private:
  const ModelFacts model_;
  std::unique_ptr<capture::ModelRunner> runner_;
  std::vector<at::Tensor> inputs_;
};

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_RUNNER_CONTENDER_H_
