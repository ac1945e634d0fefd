// TestEngine is the real engine on a repository of chosen small models, ready when its constructor returns.
//
// Thread-safe, as Engine is.
#ifndef TESTS_ENGINE_TEST_ENGINE_H_
#define TESTS_ENGINE_TEST_ENGINE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "attribution/engine.h"
#include "server/telemetry/metrics.h"
#include "tests/engine/recording_sink.h"
#include "tests/models/temporary_directory.h"

namespace attribution::engine {

// Two workers of one thread each on the CPU, and 1 GiB for requests.
EngineOptions SmallOptions();

// Makes a repository of copies of `models` of the fixtures.
void CopyModels(const std::vector<std::string>& models, const models::TemporaryDirectory& repository);

// One request that was started.
struct StartedCall {
  std::shared_ptr<RecordingSink> sink;
  std::shared_ptr<AttributionCall> call;
};

class TestEngine {
 public:
  // Serves `models`, names of tests/fixtures/make_models.py. Waits until each has loaded or failed.
  explicit TestEngine(const std::vector<std::string>& models, EngineOptions options = SmallOptions());

  Engine& operator*() const { return *engine_; }
  Engine* operator->() const { return engine_.get(); }

  // Starts a request. `sink`: null for one without hooks.
  StartedCall Start(AttributionRequest request, std::shared_ptr<RecordingSink> sink = nullptr,
                    CallContext context = {});

  // Starts a request and waits for its end. Expects that nothing was reserved when OnDone came.
  struct Outcome {
    absl::Status status;
    std::vector<Event> events;
    AttributionResult result;  // empty unless OK
  };
  Outcome Run(AttributionRequest request, CallContext context = {});

  // Returns when every request that was started before has been checked and has met admission.
  void WaitForIntake();

  // Values of gauges on /metrics.
  double ReservedBytes() const;
  double QueueDepth() const;

  // The value of any series on /metrics, named with its labels.
  double Value(const std::string& series) const;

 private:
  models::TemporaryDirectory repository_;
  telemetry::Metrics metrics_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace attribution::engine

#endif  // TESTS_ENGINE_TEST_ENGINE_H_
