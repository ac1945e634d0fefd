#include "tests/benchmark/rounds.h"

#include <algorithm>
#include <cmath>
#include <iostream>

#include "absl/time/clock.h"

namespace attribution::benchmark {
namespace {

constexpr double kTurnSeconds = 0.2;

// Threads of OpenMP go on spinning for some milliseconds when their work is done.
constexpr absl::Duration kPauseBetweenTurns = absl::Milliseconds(20);

}  // namespace

std::vector<size_t> OrderOf(int round, size_t count) {
  // The zigzag 0, 1, n-1, 2, n-2, ... steps by every distance, so rounds that shift it by one each change who
  // follows whom; the way back evens it out for an odd count.
  std::vector<size_t> order;
  for (size_t i = 0; i < count; ++i) {
    const size_t zigzag = i % 2 == 1 ? (i + 1) / 2 : (count - i / 2) % count;
    order.push_back((zigzag + static_cast<size_t>(round)) % count);
  }
  if (static_cast<size_t>(round) / count % 2 == 1) std::reverse(order.begin(), order.end());
  return order;
}

std::vector<Measurement> Measure(const std::vector<Contender*>& contenders, const Shape& shape, int rounds,
                                 int64_t& repetitions) {
  std::vector<Measurement> measurements(contenders.size());
  for (size_t i = 0; i < contenders.size(); ++i)
    measurements[i].memory = contenders[i]->Prepare(shape, kWarmUps);
  const double seconds = contenders.front()->Run(1);
  repetitions = std::max<int64_t>(1, std::llround(kTurnSeconds / seconds));
  for (int round = 0; round < rounds; ++round) {
    std::cerr << shape.batch << " x " << shape.length << ": round " << round + 1 << " of " << rounds
              << std::endl;
    for (const size_t i : OrderOf(round, contenders.size())) {
      absl::SleepFor(kPauseBetweenTurns);
      measurements[i].seconds.push_back(contenders[i]->Run(repetitions));
    }
  }
  return measurements;
}

}  // namespace attribution::benchmark
