#include "tests/benchmark/rounds.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <utility>

namespace attribution::benchmark {
namespace {

class OrderOfTest : public testing::TestWithParam<size_t> {};

TEST_P(OrderOfTest, EveryPlaceAndEveryFollowerComeEquallyOften) {
  const size_t count = GetParam();
  std::map<std::pair<size_t, size_t>, int> at_place;  // contender, place
  std::map<std::pair<size_t, size_t>, int> follows;   // contender, the one before it
  for (int round = 0; round < static_cast<int>(2 * count); ++round) {
    const std::vector<size_t> order = OrderOf(round, count);
    ASSERT_EQ(std::set(order.begin(), order.end()).size(), count);
    for (size_t place = 0; place < count; ++place) {
      ++at_place[{order[place], place}];
      if (place > 0) ++follows[{order[place], order[place - 1]}];
    }
  }
  EXPECT_EQ(at_place.size(), count * count);
  for (const auto& [_, times] : at_place) EXPECT_EQ(times, 2);
  EXPECT_EQ(follows.size(), count * (count - 1));
  for (const auto& [_, times] : follows) EXPECT_EQ(times, 2);
}

INSTANTIATE_TEST_SUITE_P(Counts, OrderOfTest, testing::Values(2, 3, 4, 5, 7));

}  // namespace
}  // namespace attribution::benchmark
