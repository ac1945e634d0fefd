#include "server/capture/length_rule.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

namespace attribution::capture {
namespace {

using Seen = std::vector<std::pair<int64_t, int64_t>>;

// What the warm-up lengths show of a site.
Seen SeenOf(const std::function<int64_t(int64_t)>& length) {
  Seen seen;
  for (const int64_t n : {8, 24, 17, 18, 19}) seen.emplace_back(n, length(n));
  return seen;
}

TEST(LengthRuleTest, DefaultIsTheInputsOwn) {
  EXPECT_EQ(LengthRule{}.LengthAt(0), 0);
  EXPECT_EQ(LengthRule{}.LengthAt(77), 77);
  EXPECT_FALSE(LengthRule{}.fixed());
}

TEST(LengthRuleTest, OneLengthOfInputMakesAFixedRule) {
  const auto rule = FindLengthRule({{1, 197}, {1, 197}});
  ASSERT_TRUE(rule.has_value());
  EXPECT_TRUE(rule->fixed());
  EXPECT_EQ(rule->LengthAt(1), 197);
  EXPECT_EQ(rule->LengthAt(5000), 197);
}

TEST(LengthRuleTest, FollowsStridesAndPrefixesHoweverTheyRound) {
  const std::function<int64_t(int64_t)> lengths[] = {
      [](int64_t n) { return n; },           [](int64_t n) { return n + 5; },
      [](int64_t n) { return n - 2; },       [](int64_t) { return 50; },
      [](int64_t n) { return n / 2; },       [](int64_t n) { return (n + 1) / 2; },
      [](int64_t n) { return n / 4; },       [](int64_t n) { return (n + 1) / 4; },
      [](int64_t n) { return (n + 2) / 4; }, [](int64_t n) { return (n + 3) / 4; },
      [](int64_t n) { return 2 * n + 1; },   [](int64_t n) { return n / 2 + 1; },
  };
  for (const auto& length : lengths) {
    const auto rule = FindLengthRule(SeenOf(length));
    ASSERT_TRUE(rule.has_value());
    for (int64_t n = 3; n < 200; ++n) EXPECT_EQ(rule->LengthAt(n), length(n)) << n;
  }
}

TEST(LengthRuleTest, TellsWhatItCannotExplain) {
  EXPECT_FALSE(FindLengthRule({}).has_value());
  EXPECT_FALSE(FindLengthRule({{1, 5}, {1, 6}}).has_value());
  EXPECT_FALSE(FindLengthRule(SeenOf([](int64_t n) { return n * n; })).has_value());
  EXPECT_FALSE(FindLengthRule(SeenOf([](int64_t n) { return 100 - n; })).has_value());
  EXPECT_FALSE(FindLengthRule(SeenOf([](int64_t n) { return n == 18 ? 40 : n; })).has_value());
}

TEST(LengthRuleTest, IsNeverNegativeAndDoesNotOverflow) {
  EXPECT_EQ((LengthRule{.slope = 1, .offset = -10}).LengthAt(3), 0);
  const int64_t largest = std::numeric_limits<int64_t>::max();
  EXPECT_EQ((LengthRule{.slope = 3, .offset = 0}).LengthAt(largest), largest);
}

}  // namespace
}  // namespace attribution::capture
