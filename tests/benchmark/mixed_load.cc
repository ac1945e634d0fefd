#include "tests/benchmark/mixed_load.h"

#include <algorithm>
#include <random>

namespace attribution::benchmark {
namespace {

constexpr int kRequests = 16;

}  // namespace

Memory MixedLoad::Prepare(const Shape& shape, int warm_ups) {
  std::mt19937 generator(static_cast<uint32_t>(shape.batch * shape.length));
  requests_.clear();
  while (requests_.size() < kRequests) {
    const auto batch = static_cast<int64_t>(1 + generator() % static_cast<uint64_t>(shape.batch));
    const auto length = static_cast<int64_t>(1 + generator() % static_cast<uint64_t>(shape.length));
    requests_.push_back(RequestOf({batch, length}, engine_.model()));
  }
  memory_ = {};
  Run(warm_ups + 1);
  return memory_;
}

double MixedLoad::Run(int64_t repetitions) {
  return SecondsPerRun(repetitions, [this] {
    for (const AttributionResult& result : engine_.Attribute(requests_))
      memory_.peak_bytes = std::max(memory_.peak_bytes, result.measured_peak_bytes);
  });
}

}  // namespace attribution::benchmark
