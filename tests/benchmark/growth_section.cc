#include <algorithm>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "tests/benchmark/contenders.h"
#include "tests/benchmark/exponent.h"
#include "tests/benchmark/figures.h"
#include "tests/benchmark/ratios.h"
#include "tests/benchmark/rounds.h"
#include "tests/benchmark/sections.h"

namespace attribution::benchmark {
namespace {

struct Row {
  double length = 0;
  std::vector<Measurement> measurements;  // plain forward, A/A control, engine
};

// The exponent of what `value` takes out of each row.
double ExponentOf(const std::vector<Row>& rows, const std::function<double(const Row&)>& value) {
  std::vector<double> lengths;
  std::vector<double> values;
  for (const Row& row : rows) {
    lengths.push_back(row.length);
    values.push_back(value(row));
  }
  return Exponent(lengths, values);
}

// The exponent of a contender's time in each round: median [smallest, largest].
std::string TimeExponent(const std::vector<Row>& rows, size_t contender) {
  const size_t rounds = rows.front().measurements[contender].seconds.size();
  std::vector<double> exponents;
  exponents.reserve(rounds);
  for (size_t round = 0; round < rounds; ++round) {
    exponents.push_back(
        ExponentOf(rows, [&](const Row& row) { return row.measurements[contender].seconds[round]; }));
  }
  return absl::StrFormat("%.2f [%.2f, %.2f]", Median(exponents),
                         *std::min_element(exponents.begin(), exponents.end()),
                         *std::max_element(exponents.begin(), exponents.end()));
}

std::string MemoryExponent(const std::vector<Row>& rows, size_t contender, int64_t Memory::* bytes) {
  return absl::StrFormat("%.2f", ExponentOf(rows, [&](const Row& row) {
                           return static_cast<double>(row.measurements[contender].memory.*bytes);
                         }));
}

}  // namespace

void MeasureGrowth(const Arguments& arguments) {
  const auto engine = StartEngine(arguments);
  const auto plain = StartPlain(arguments, engine->model());
  const auto control = StartPlain(arguments, engine->model());
  std::cout
      << "Medians; the ratio is to the plain forward of the same round. Exponent p of c x S^p: least squares "
         "of the\n"
         "logarithms over the lengths, of times for each round, median [smallest, largest].\n"
         "batch x S  runs  plain forward         engine  A/A control             engine / plain          "
         "plain peak  engine peak  of it: attn\n";
  std::vector<Row> rows;
  for (const Shape& shape : arguments.shapes) {
    int64_t repetitions = 0;
    const auto measurements =
        Measure({plain.get(), control.get(), engine.get()}, shape, arguments.rounds, repetitions);
    const std::vector<double>& seconds = measurements[0].seconds;
    const Memory& memory = measurements[2].memory;
    std::cout << absl::StrFormat("%-9s  %4d  %13s  %13s  %-22s  %-22s  %10s  %11s  %11s", ToString(shape),
                                 repetitions, Milliseconds(seconds), Milliseconds(measurements[2].seconds),
                                 ToString(RatioOf(measurements[1].seconds, seconds)),
                                 ToString(RatioOf(measurements[2].seconds, seconds)),
                                 Megabytes(static_cast<double>(measurements[0].memory.peak_bytes)),
                                 Megabytes(static_cast<double>(memory.peak_bytes)),
                                 Megabytes(static_cast<double>(memory.attention_bytes)))
              << std::endl;
    rows.push_back({static_cast<double>(shape.length), measurements});
  }
  std::cout << "exponents  time: plain forward " << TimeExponent(rows, 0) << ", engine "
            << TimeExponent(rows, 2) << "\n           peak: plain forward "
            << MemoryExponent(rows, 0, &Memory::peak_bytes) << ", engine "
            << MemoryExponent(rows, 2, &Memory::peak_bytes) << ", of it attention "
            << MemoryExponent(rows, 2, &Memory::attention_bytes) << std::endl;
}

}  // namespace attribution::benchmark
