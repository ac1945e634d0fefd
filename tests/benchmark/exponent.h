// Exponent tells how fast something grows.
//
// Pure function; any thread.
#ifndef TESTS_BENCHMARK_EXPONENT_H_
#define TESTS_BENCHMARK_EXPONENT_H_

#include <vector>

namespace attribution::benchmark {

// Returns p of y = c·x^p: least squares of the logarithms. REQUIRES: as many y as x, all positive, not all x
// equal.
double Exponent(const std::vector<double>& x, const std::vector<double>& y);

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_EXPONENT_H_
