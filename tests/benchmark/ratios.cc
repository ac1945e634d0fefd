#include "tests/benchmark/ratios.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace attribution::benchmark {

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

Ratio RatioOf(const std::vector<double>& measured, const std::vector<double>& baseline) {
  std::vector<double> ratios;
  for (size_t round = 0; round < measured.size(); ++round)
    ratios.push_back(measured[round] / baseline[round]);
  return {Median(ratios), *std::min_element(ratios.begin(), ratios.end()),
          *std::max_element(ratios.begin(), ratios.end())};
}

std::string ToString(const Ratio& ratio) {
  return absl::StrFormat("%.3f [%.3f, %.3f]", ratio.median, ratio.smallest, ratio.largest);
}

}  // namespace attribution::benchmark
