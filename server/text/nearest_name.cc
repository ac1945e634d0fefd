#include "server/text/nearest_name.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace attribution::text {
namespace {

size_t EditDistance(std::string_view left, std::string_view right) {
  std::vector<size_t> row(right.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= left.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= right.size(); ++j) {
      const size_t replaced = diagonal + (left[i - 1] == right[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string NearestName(std::string_view name, const std::vector<std::string>& known) {
  std::string best;
  size_t fewest = 0;
  for (const std::string& candidate : known) {
    // A name twice as long is no typing mistake; skipping it keeps the cost of a huge name small.
    if (name.size() > 2 * candidate.size()) continue;
    const size_t distance = EditDistance(name, candidate);
    if (3 * distance > candidate.size()) continue;
    if (best.empty() || distance < fewest) {
      best = candidate;
      fewest = distance;
    }
  }
  return best;
}

}  // namespace attribution::text
