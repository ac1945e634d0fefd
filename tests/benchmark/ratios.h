// Ratios compares times that were taken in the same rounds.
//
// Pure functions; any thread.
#ifndef TESTS_BENCHMARK_RATIOS_H_
#define TESTS_BENCHMARK_RATIOS_H_

#include <string>
#include <vector>

namespace attribution::benchmark {

// Returns the middle value; of an even number of them, the mean of the two in the middle. REQUIRES: not
// empty.
double Median(std::vector<double> values);

// Median, smallest and largest of measured[i] / baseline[i]. A round's own ratio cancels what slows the
// machine for longer than a round.
struct Ratio {
  double median = 0;
  double smallest = 0;
  double largest = 0;
};
Ratio RatioOf(const std::vector<double>& measured, const std::vector<double>& baseline);

// `1.03 [0.98, 1.10]`.
std::string ToString(const Ratio& ratio);

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_RATIOS_H_
