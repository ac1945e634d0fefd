// With slope p and divisor q, a site of length L at input length n says qL <= pn + o <= qL + q - 1: each pair
// bounds the offset o, and a rule exists if the bounds of all pairs have a number in common.
#include "server/capture/length_rule.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace attribution::capture {

std::optional<LengthRule> FindLengthRule(const std::vector<std::pair<int64_t, int64_t>>& seen) {
  if (seen.empty()) return std::nullopt;
  const auto [shortest, longest] = std::minmax_element(seen.begin(), seen.end());
  LengthRule rule{.slope = longest->second - shortest->second,
                  .divisor = std::max<int64_t>(1, longest->first - shortest->first)};
  if (rule.slope < 0) return std::nullopt;
  const int64_t common = std::gcd(rule.slope, rule.divisor);
  rule.slope /= common;
  rule.divisor /= common;
  int64_t least = std::numeric_limits<int64_t>::min();
  int64_t most = std::numeric_limits<int64_t>::max();
  for (const auto& [input, length] : seen) {
    const int64_t bound = rule.divisor * length - rule.slope * input;
    least = std::max(least, bound);
    most = std::min(most, bound + rule.divisor - 1);
  }
  if (least > most) return std::nullopt;
  rule.offset = least;
  return rule;
}

}  // namespace attribution::capture
