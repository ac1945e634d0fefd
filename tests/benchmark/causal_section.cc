#include <cmath>
#include <iostream>
#include <memory>
#include <vector>

#include "absl/strings/str_format.h"
#include "tests/benchmark/contenders.h"
#include "tests/benchmark/figures.h"
#include "tests/benchmark/ratios.h"
#include "tests/benchmark/rounds.h"
#include "tests/benchmark/sections.h"

namespace attribution::benchmark {
namespace {

// Places in a row of measurements.
enum Place : size_t { kPlain, kControl, kWhole, kSkipping, kEngine };

// What each round took longer than its plain forward.
std::vector<double> BeyondPlain(const std::vector<Measurement>& measurements, Place place) {
  std::vector<double> beyond = measurements[place].seconds;
  for (size_t i = 0; i < beyond.size(); ++i) beyond[i] -= measurements[kPlain].seconds[i];
  return beyond;
}

}  // namespace

void CompareCausal(const Arguments& arguments) {
  const auto engine = StartEngine(arguments);
  const ModelFacts model = engine->model();
  const auto plain = StartPlain(arguments, model);
  const auto control = StartPlain(arguments, model);
  const auto whole = StartFolded(arguments, model, /*whole_rows=*/true);
  const auto skipping = StartFolded(arguments, model, /*whole_rows=*/false);
  const std::vector<Contender*> contenders = {plain.get(), control.get(), whole.get(), skipping.get(),
                                              engine.get()};
  std::cout
      << "Time per run: median of the plain forward; the others as ratio to the plain forward of the "
         "same round,\n"
         "median [smallest, largest]. The A/A control is a second plain forward. Whole: capture and "
         "rollout with every\n"
         "column computed. Skipping: without the columns that the mask hides. Share: (skipping - plain) / "
         "(whole - plain)\n"
         "of the same round; where it is negative, attribution is faster than the plain forward.\n"
         "batch x S  runs  plain forward  A/A control             whole                   skipping       "
         "         engine                  share\n";
  for (const Shape& shape : arguments.shapes) {
    int64_t repetitions = 0;
    const auto measurements = Measure(contenders, shape, arguments.rounds, repetitions);
    const std::vector<double>& seconds = measurements[kPlain].seconds;
    std::cout << absl::StrFormat("%-9s  %4d  %13s", ToString(shape), repetitions, Milliseconds(seconds));
    for (size_t i = kControl; i < measurements.size(); ++i) {
      std::cout << absl::StrFormat("  %-22s", ToString(RatioOf(measurements[i].seconds, seconds)));
    }
    std::cout << "  "
              << ToString(RatioOf(BeyondPlain(measurements, kSkipping), BeyondPlain(measurements, kWhole)))
              << "\n";
    const Metrics a = whole->Result();
    const Metrics b = skipping->Result();
    std::cout << absl::StrFormat(
        "           skipping differs by %.1e in rollout_max, %.1e in rollout_entropy\n",
        std::abs(a.rollout_max.value_or(0) - b.rollout_max.value_or(0)),
        std::abs(a.rollout_entropy.value_or(0) - b.rollout_entropy.value_or(0)));
  }
}

}  // namespace attribution::benchmark
