#include <algorithm>
#include <cmath>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "tests/benchmark/contenders.h"
#include "tests/benchmark/figures.h"
#include "tests/benchmark/ratios.h"
#include "tests/benchmark/rounds.h"
#include "tests/benchmark/sections.h"

namespace attribution::benchmark {
namespace {

// What two computations in float32 may differ by.
constexpr double kLargestDifference = 1e-5;

// The largest difference of a metric, relative to the naive one.
double LargestDifference(const Metrics& ours, const Metrics& naive) {
  double largest = 0;
  for (const auto& [a, b] : {std::pair(ours.mean_attention, naive.mean_attention),
                             std::pair(ours.max_attention, naive.max_attention),
                             std::pair(ours.attention_entropy, naive.attention_entropy),
                             std::pair(ours.attention_concentration, naive.attention_concentration),
                             std::pair(ours.rollout_max, naive.rollout_max),
                             std::pair(ours.rollout_entropy, naive.rollout_entropy)})
    largest = std::max(largest, std::abs(*a - *b) / std::abs(*b));
  return largest;
}

}  // namespace

void CompareWithNaive(const Arguments& arguments) {
  const auto engine = StartEngine(arguments);
  const auto naive = StartNaive(arguments, engine->model());
  const auto control = StartNaive(arguments, engine->model());
  std::cout
      << "Time per run: medians, and how many times as long the naive program takes as the engine in the "
         "same round,\n"
         "median [smallest, largest]. The A/A control is a second naive program. Result against naive: "
         "the largest\n"
         "difference of the six metrics, relative.\n"
         "batch x S  runs          naive         engine  A/A control             naive / engine          "
         "result against naive\n";
  for (const Shape& shape : arguments.shapes) {
    int64_t repetitions = 0;
    try {
      const auto measurements =
          Measure({naive.get(), control.get(), engine.get()}, shape, arguments.rounds, repetitions);
      const std::vector<double>& seconds = measurements[0].seconds;
      const double difference = LargestDifference(engine->Result(), naive->Result());
      std::cout << absl::StrFormat("%-9s  %4d  %13s  %13s  %-22s  %-22s  %.1e", ToString(shape), repetitions,
                                   Milliseconds(seconds), Milliseconds(measurements[2].seconds),
                                   ToString(RatioOf(measurements[1].seconds, seconds)),
                                   ToString(RatioOf(seconds, measurements[2].seconds)), difference)
                << (difference <= kLargestDifference ? "" : "  NOT THE SAME ANSWER") << std::endl;
    } catch (const NotShown& reason) {
      std::cout << absl::StrFormat("%-9s  not shown: %s", ToString(shape), reason.what()) << std::endl;
    }
  }
}

}  // namespace attribution::benchmark
