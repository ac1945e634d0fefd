#include "tests/benchmark/figures.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/benchmark/ratios.h"

namespace attribution::benchmark {

std::string ToString(const Shape& shape) { return absl::StrCat(shape.batch, " x ", shape.length); }

std::string Megabytes(double bytes) { return absl::StrFormat("%.1f MB", bytes / 1e6); }

std::string Milliseconds(const std::vector<double>& seconds) {
  return absl::StrFormat("%.2f ms", 1e3 * Median(seconds));
}

double BytesOfAllLayers(const Shape& shape, const ModelFacts& model) {
  return 4.0 * static_cast<double>(model.num_layers * model.num_heads * shape.batch) *
         static_cast<double>(shape.length * shape.length);
}

}  // namespace attribution::benchmark
