#include "tests/benchmark/exponent.h"

#include <cmath>
#include <cstddef>

namespace attribution::benchmark {
namespace {

double MeanOfLogarithms(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += std::log(value);
  return sum / static_cast<double>(values.size());
}

}  // namespace

double Exponent(const std::vector<double>& x, const std::vector<double>& y) {
  const double mean_x = MeanOfLogarithms(x);
  const double mean_y = MeanOfLogarithms(y);
  double covariance = 0;
  double variance = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double deviation = std::log(x[i]) - mean_x;
    covariance += deviation * (std::log(y[i]) - mean_y);
    variance += deviation * deviation;
  }
  return covariance / variance;
}

}  // namespace attribution::benchmark
