#include "server/text/nearest_name.h"

#include <gtest/gtest.h>

namespace attribution::text {
namespace {

TEST(NearestNameTest, FindsAMistypedName) {
  EXPECT_EQ(NearestName("num_head", {"num_layers", "num_heads"}), "num_heads");
  EXPECT_EQ(NearestName("nmu_heads", {"num_layers", "num_heads"}), "num_heads");
}

TEST(NearestNameTest, GivesNothingForAnotherWord) {
  EXPECT_EQ(NearestName("colour", {"num_layers", "num_heads"}), "");
}

TEST(NearestNameTest, GivesTheFirstOfEquals) { EXPECT_EQ(NearestName("abcx", {"abcd", "abce"}), "abcd"); }

TEST(NearestNameTest, EmptyNameIsLikeNone) { EXPECT_EQ(NearestName("", {"ab"}), ""); }

}  // namespace
}  // namespace attribution::text
