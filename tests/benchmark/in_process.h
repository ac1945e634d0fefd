// InProcess attributes with an Engine in this process, without any network.
//
// Not thread-safe. Errors end the program: a benchmark of something that fails says nothing.
#ifndef TESTS_BENCHMARK_IN_PROCESS_H_
#define TESTS_BENCHMARK_IN_PROCESS_H_

#include <memory>
#include <string>

#include "attribution/engine.h"
#include "server/telemetry/metrics.h"

namespace attribution::benchmark {

class InProcess {
 public:
  // Serves `repository` with one worker of `threads` threads and waits until `model` has loaded.
  InProcess(const std::string& repository, const std::string& model, int threads);

  const ModelInfo& model() const { return model_; }

  struct Run {
    double seconds = 0;  // from the request to the last event
    AttributionResult result;
  };
  Run Attribute(const AttributionRequest& request);

 private:
  telemetry::Metrics metrics_;
  std::unique_ptr<Engine> engine_;
  ModelInfo model_;
};

// Ends the program with `status` on standard error, unless it is OK.
void Require(const absl::Status& status);

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_IN_PROCESS_H_
