// InProcess attributes with an Engine in this process, without any network.
//
// Not thread-safe.
#ifndef TESTS_BENCHMARK_IN_PROCESS_H_
#define TESTS_BENCHMARK_IN_PROCESS_H_

#include <memory>
#include <string>

#include "attribution/engine.h"
#include "server/telemetry/metrics.h"
#include "tests/benchmark/contender.h"

namespace attribution::benchmark {

class InProcess : public Contender {
 public:
  // Serves `repository` with one worker of `threads` threads and waits until `model` has loaded.
  InProcess(const std::string& repository, const std::string& model, int threads);

  const ModelFacts& model() const { return model_; }

  // Memory: as the result of a request tells it.
  Memory Prepare(const Shape& shape) override;

  // Times each run from the request to the last event.
  double Run(int64_t repetitions) override;

 private:
  AttributionResult Attribute();

  telemetry::Metrics metrics_;
  std::unique_ptr<Engine> engine_;
  ModelFacts model_;
  AttributionRequest request_;
};

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_IN_PROCESS_H_
