// How the figures of the tables are written.
//
// Pure functions; any thread.
#ifndef TESTS_BENCHMARK_FIGURES_H_
#define TESTS_BENCHMARK_FIGURES_H_

#include <string>
#include <vector>

#include "tests/benchmark/workload.h"

namespace attribution::benchmark {

// `16 x 256`.
std::string ToString(const Shape& shape);

// `12.3 MB`, of 10^6 bytes.
std::string Megabytes(double bytes);

// `12.34 ms`: the median.
std::string Milliseconds(const std::vector<double>& seconds);

// What keeping the attention of every layer takes: L·H·B·S²·4 bytes.
double BytesOfAllLayers(const Shape& shape, const ModelFacts& model);

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_FIGURES_H_
