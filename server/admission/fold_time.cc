#include "server/admission/fold_time.h"

#include <algorithm>

namespace attribution::admission {
namespace {

// Both measured together with torch on one core of a machine in use, at n = 2048. Only their ratio matters:
// about 5 operations in the time of a byte.
constexpr double kOperationsPerSecond = 8.4e9;  // of a product of two [n, n], 2·n³ operations
constexpr double kBytesPerSecond = 1.6e9;       // of a matrix that is read or written once

constexpr double kFloatBytes = 4;

double Squared(int64_t length) { return static_cast<double>(length) * static_cast<double>(length); }

}  // namespace

double FullMatrixSeconds(int32_t layers, const std::vector<int64_t>& lengths) {
  double seconds = 0;
  for (const int64_t length : lengths) {
    const double operations = (layers - 1) * 2 * Squared(length) * static_cast<double>(length);
    seconds += operations / kOperationsPerSecond + layers * kFloatBytes * Squared(length) / kBytesPerSecond;
  }
  return seconds;
}

double SelectedRowsSeconds(const RowsAlone& rows_alone, const std::vector<int64_t>& lengths) {
  double seconds = 0;
  for (const int64_t length : lengths) {
    const auto rows = static_cast<double>(std::min(rows_alone.rows, length));
    const double operations = 2 * rows * Squared(length);
    const double bytes = (rows_alone.keeps_layers ? 2 : 1) * kFloatBytes * Squared(length);
    seconds += rows_alone.layers * (operations / kOperationsPerSecond + bytes / kBytesPerSecond);
  }
  return seconds;
}

}  // namespace attribution::admission
