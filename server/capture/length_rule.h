// How many positions the attention of a site has, by the length of the input.
//
// Plain values and pure functions; any thread.
#ifndef SERVER_CAPTURE_LENGTH_RULE_H_
#define SERVER_CAPTURE_LENGTH_RULE_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

namespace attribution::capture {

// floor((slope·n + offset) / divisor) positions for an input of length n: the input's own with the defaults,
// `offset` whatever the input with slope 0 and divisor 1, every second one with divisor 2.
struct LengthRule {
  int64_t slope = 1;
  int64_t offset = 0;
  int64_t divisor = 1;  // at least 1

  // Positions for an input of `input_length`; 0 if it is too short for any.
  int64_t LengthAt(int64_t input_length) const {
    int64_t scaled = 0;
    if (__builtin_mul_overflow(slope, input_length, &scaled) ||
        __builtin_add_overflow(scaled, offset, &scaled))
      return std::numeric_limits<int64_t>::max();
    return std::max<int64_t>(0, scaled) / divisor;
  }

  bool fixed() const { return slope == 0; }

  friend bool operator==(const LengthRule&, const LengthRule&) = default;
};

// Finds the rule of what was seen: pairs of the input's length and the site's. The slope is that between the
// shortest and the longest input, so these must differ by a multiple of the site's stride; the others tell
// how it rounds. Nothing if no rule explains them all, or if there are none.
std::optional<LengthRule> FindLengthRule(const std::vector<std::pair<int64_t, int64_t>>& seen);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_LENGTH_RULE_H_
