// A Contender is one way of running the workload, of which the benchmark takes the time.
//
// Not thread-safe. Errors are exceptions: a benchmark of something that fails says nothing and ends.
#ifndef TESTS_BENCHMARK_CONTENDER_H_
#define TESTS_BENCHMARK_CONTENDER_H_

#include <cstdint>
#include <stdexcept>
#include <string>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "attribution/events.h"
#include "tests/benchmark/workload.h"

namespace attribution::benchmark {

// Most bytes alive at once above the resident model; 0 where a contender does not know.
struct Memory {
  int64_t peak_bytes = 0;
  int64_t attention_bytes = 0;  // of these: rollout, its spare and the scratch of attention
  int64_t num_chunks = 0;       // into which the batch was cut
};

class Contender {
 public:
  virtual ~Contender() = default;

  // Makes the input of the next runs, runs it `warm_ups` times and measures the memory of one run more.
  // Throws NotShown if the contender cannot run this shape on this machine.
  virtual Memory Prepare(const Shape& shape, int warm_ups) = 0;

  // Runs the input that many times, one after the other. Returns seconds per run. REQUIRES: Prepare().
  virtual double Run(int64_t repetitions) = 0;

  // The metrics of the last run; empty where a contender computes none.
  virtual Metrics Result() { return {}; }
};

// Says why a figure is left out.
class NotShown : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// TorchScript specialises a graph in its first two runs.
inline constexpr int kWarmUps = 2;

// Calls `run` that many times. Returns seconds per call.
template <typename Function>
double SecondsPerRun(int64_t repetitions, const Function& run) {
  const absl::Time start = absl::Now();
  for (int64_t i = 0; i < repetitions; ++i) run();
  return absl::ToDoubleSeconds(absl::Now() - start) / static_cast<double>(repetitions);
}

// Throws the message of `status`, unless it is OK.
inline void Require(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(std::string(status.message()));
}

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_CONTENDER_H_
