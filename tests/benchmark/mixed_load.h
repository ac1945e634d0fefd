// MixedLoad gives an Engine with several workers requests of many shapes at once, as a server gets them.
//
// Not thread-safe.
#ifndef TESTS_BENCHMARK_MIXED_LOAD_H_
#define TESTS_BENCHMARK_MIXED_LOAD_H_

#include <vector>

#include "tests/benchmark/in_process.h"

namespace attribution::benchmark {

class MixedLoad : public Contender {
 public:
  // `engine` outlives this.
  explicit MixedLoad(InProcess& engine) : engine_(engine) {}

  // Makes requests of random shapes, batch and length up to those of `shape`; equal in every process.
  // Memory: the largest peak of a request.
  Memory Prepare(const Shape& shape, int warm_ups) override;

  // Times all the requests together. What they allocate depends on which of them meet.
  double Run(int64_t repetitions) override;

 private:
  InProcess& engine_;
  std::vector<AttributionRequest> requests_;
  Memory memory_;
};

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_MIXED_LOAD_H_
