// InProcess attributes with an Engine in this process, without any network.
//
// Not thread-safe.
#ifndef TESTS_BENCHMARK_IN_PROCESS_H_
#define TESTS_BENCHMARK_IN_PROCESS_H_

#include <memory>
#include <string>
#include <vector>

#include "attribution/engine.h"
#include "server/telemetry/metrics.h"
#include "tests/benchmark/contender.h"

namespace attribution::benchmark {

class InProcess : public Contender {
 public:
  // Serves `repository` with `workers` workers of `threads` threads each and waits until `model` has loaded.
  // `output` is what the runs ask for besides metrics.
  InProcess(const std::string& repository, const std::string& model, int workers, int threads,
            OutputSelection output = {});

  const ModelFacts& model() const { return model_; }

  // How the rollout of the last run was computed, and the last row of it that came.
  RolloutMethod rollout_method() const { return rollout_method_; }
  const std::vector<float>& last_row() const { return last_row_; }

  // Starts every request at once and waits for them all. Returns the results, in order of the requests.
  std::vector<AttributionResult> Attribute(const std::vector<AttributionRequest>& requests);

  // Memory: as the result of a request tells it.
  Memory Prepare(const Shape& shape, int warm_ups) override;

  // Times each run from the request to the last event.
  double Run(int64_t repetitions) override;
  Metrics Result() override { return result_.metrics; }

 private:
  const OutputSelection output_;
  telemetry::Metrics metrics_;
  std::unique_ptr<Engine> engine_;
  ModelFacts model_;
  std::vector<AttributionRequest> request_;  // the one that is run
  AttributionResult result_;
  RolloutMethod rollout_method_ = RolloutMethod::kFullMatrix;
  std::vector<float> last_row_;
};

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_IN_PROCESS_H_
