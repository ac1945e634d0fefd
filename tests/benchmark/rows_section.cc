#include <algorithm>
#include <cmath>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "tests/benchmark/contenders.h"
#include "tests/benchmark/figures.h"
#include "tests/benchmark/in_process.h"
#include "tests/benchmark/ratios.h"
#include "tests/benchmark/rounds.h"
#include "tests/benchmark/sections.h"

namespace attribution::benchmark {
namespace {

// Places in a row of measurements.
enum Place : size_t { kPlain, kControl, kMatrix, kLastRow };

// What a run takes beyond the plain forward of its round.
std::vector<double> Beyond(const std::vector<double>& seconds, const std::vector<double>& plain) {
  std::vector<double> beyond;
  beyond.reserve(seconds.size());
  for (size_t i = 0; i < seconds.size(); ++i) beyond.push_back(seconds[i] - plain[i]);
  return beyond;
}

void PrintShape(const Shape& shape, int64_t repetitions, const std::vector<Measurement>& measurements) {
  const std::vector<double>& plain = measurements[kPlain].seconds;
  const std::vector<double>& matrix = measurements[kMatrix].seconds;
  const std::vector<double>& row = measurements[kLastRow].seconds;
  std::cout << absl::StrFormat("%-9s  %4d  %13s  %-22s  %12s  %12s  %-22s  %-22s  %11s  %11s",
                               ToString(shape), repetitions, Milliseconds(plain),
                               ToString(RatioOf(measurements[kControl].seconds, plain)), Milliseconds(matrix),
                               Milliseconds(row), ToString(RatioOf(row, matrix)),
                               ToString(RatioOf(Beyond(row, plain), Beyond(matrix, plain))),
                               Megabytes(static_cast<double>(measurements[kMatrix].memory.peak_bytes)),
                               Megabytes(static_cast<double>(measurements[kLastRow].memory.peak_bytes)))
            << std::endl;
}

// Runs both ways in this process and prints how far the last row of one is from that of the other.
void PrintDifference(const Arguments& arguments, const Shape& shape) {
  InProcess alone(arguments.repository, arguments.model, arguments.workers, arguments.threads,
                  RolloutRows(RowSelection::Kind::kLastValid));
  InProcess whole(arguments.repository, arguments.model, arguments.workers, arguments.threads,
                  RolloutRows(RowSelection::Kind::kAll));
  alone.Prepare(shape, /*warm_ups=*/0);
  whole.Prepare(shape, /*warm_ups=*/0);
  float difference = 0;
  for (size_t i = 0; i < alone.last_row().size(); ++i)
    difference = std::max(difference, std::abs(alone.last_row()[i] - whole.last_row().at(i)));
  std::cout << absl::StrFormat("%-9s  computed alone: %s, largest difference of a cell from the matrix: %.1e",
                               ToString(shape),
                               alone.rollout_method() == RolloutMethod::kSelectedRows ? "yes" : "no",
                               difference)
            << std::endl;
}

}  // namespace

void CompareRows(const Arguments& arguments) {
  const auto row = StartLastRow(arguments);
  const auto matrix = StartEveryRow(arguments);
  const auto plain = StartPlain(arguments, row->model());
  const auto control = StartPlain(arguments, row->model());
  std::cout
      << "Matrix and row: the rollout without its metrics, every row or the last. Share: what the row takes "
         "beyond the plain\n"
         "forward of its round, as part of what the matrix takes beyond it. Peaks are above the resident "
         "model.\n"
         "batch x S  runs  plain forward  A/A control                   matrix           row  row / matrix  "
         "          share                   matrix peak     row peak\n";
  for (const Shape& shape : arguments.shapes) {
    int64_t repetitions = 0;
    const auto measurements =
        Measure({plain.get(), control.get(), matrix.get(), row.get()}, shape, arguments.rounds, repetitions);
    PrintShape(shape, repetitions, measurements);
  }
  for (const Shape& shape : arguments.shapes) PrintDifference(arguments, shape);
}

}  // namespace attribution::benchmark
