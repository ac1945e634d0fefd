#include "client/cli/load_shapes.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "client/cli/errors.h"

namespace attribution::cli {
namespace {

TEST(LoadShapesTest, ReadsShapesWithAndWithoutWeight) {
  const auto shapes = ReadShapes("1x16,8x128:2.5");
  ASSERT_TRUE(shapes.ok()) << shapes.status();
  ASSERT_EQ(shapes->size(), 2u);
  EXPECT_EQ((*shapes)[0].batch, 1);
  EXPECT_EQ((*shapes)[0].length, 16);
  EXPECT_EQ((*shapes)[0].weight, 1);
  EXPECT_EQ((*shapes)[1].Name(), "8x128");
  EXPECT_EQ((*shapes)[1].weight, 2.5);
}

TEST(LoadShapesTest, RefusesWhatIsNoShape) {
  for (const char* text : {"", "16", "1x", "x16", "0x16", "1x0", "-1x16", "1x16x2", "1x16:", "1x16:0",
                           "1x16:-1", "1x16:nan", "1x16,,2x8", "ax2"}) {
    EXPECT_EQ(ExitCodeOf(ReadShapes(text).status()), kExitUsage) << text;
  }
}

TEST(LoadChanceTest, TheSameSeedMakesTheSame) {
  LoadChance one(7);
  LoadChance other(7);
  const LoadShape shape{2, 5};
  EXPECT_EQ(one.Tokens(shape, 1000).sequences[1].input_ids, other.Tokens(shape, 1000).sequences[1].input_ids);
  EXPECT_EQ(one.Gap(3), other.Gap(3));
}

TEST(LoadChanceTest, IdsFillTheShapeAndTheVocabulary) {
  LoadChance chance(1);
  const TokenBatch batch = chance.Tokens({2, 1000}, 4);
  ASSERT_EQ(batch.sequences.size(), 2u);
  const std::vector<int64_t>& ids = batch.sequences[0].input_ids;
  ASSERT_EQ(ids.size(), 1000u);
  EXPECT_EQ(*std::min_element(ids.begin(), ids.end()), 0);
  EXPECT_EQ(*std::max_element(ids.begin(), ids.end()), 3);
}

TEST(LoadChanceTest, ShapesComeAsOftenAsTheirWeightSays) {
  LoadChance chance(1);
  const std::vector<LoadShape> shapes = {{1, 16, 1}, {1, 32, 3}};
  int second = 0;
  for (int i = 0; i < 10000; ++i) second += chance.Shape(shapes) == 1 ? 1 : 0;
  EXPECT_NEAR(second, 7500, 200);
}

TEST(LoadChanceTest, GapsAreThoseOfTheRate) {
  LoadChance chance(1);
  absl::Duration sum;
  int above_mean = 0;
  for (int i = 0; i < 10000; ++i) {
    const absl::Duration gap = chance.Gap(50);
    sum += gap;
    if (gap > absl::Milliseconds(20)) ++above_mean;
  }
  EXPECT_NEAR(absl::ToDoubleSeconds(sum), 200, 8);
  EXPECT_NEAR(above_mean, 3679, 200);  // e^-1: exponential, not regular
}

}  // namespace
}  // namespace attribution::cli
