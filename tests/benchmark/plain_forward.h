// PlainForward runs the TorchScript file of a bundle as anybody would: loaded, uncut, nothing captured.
//
// Not thread-safe, and for one thread: the one that makes it.
#ifndef TESTS_BENCHMARK_PLAIN_FORWARD_H_
#define TESTS_BENCHMARK_PLAIN_FORWARD_H_

#include <memory>
#include <string>

#include "tests/benchmark/contender.h"

namespace attribution::benchmark {

class PlainForward : public Contender {
 public:
  // Loads the model from `repository`, to be run with `threads` threads.
  PlainForward(const std::string& repository, const ModelFacts& model, int threads);
  ~PlainForward() override;

  // Memory: what torch held for one run, above model and inputs.
  Memory Prepare(const Shape& shape, int warm_ups) override;
  double Run(int64_t repetitions) override;

 private:
  struct Module;
  const ModelFacts model_;
  const std::unique_ptr<Module> module_;
};

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_PLAIN_FORWARD_H_
