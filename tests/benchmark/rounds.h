// Rounds lets contenders run one shape in turns, so that a machine that is slow for a while is slow for all.
//
// Not thread-safe; the contenders' exceptions pass through.
#ifndef TESTS_BENCHMARK_ROUNDS_H_
#define TESTS_BENCHMARK_ROUNDS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/benchmark/contender.h"

namespace attribution::benchmark {

struct Measurement {
  Memory memory;
  std::vector<double> seconds;  // per run, of each round
};

// The order of a round: indices of `count` contenders. Over 2 x count rounds every contender takes every
// place equally often and follows every other one equally often.
std::vector<size_t> OrderOf(int round, size_t count);

// Prepares all contenders and gives each one turn a round. A turn is so many runs that the first contender
// needs 0.2 s for it, at least one. Returns a measurement for each contender, in their order, and sets
// `repetitions` to the runs of a turn.
std::vector<Measurement> Measure(const std::vector<Contender*>& contenders, const Shape& shape, int rounds,
                                 int64_t& repetitions);

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_ROUNDS_H_
