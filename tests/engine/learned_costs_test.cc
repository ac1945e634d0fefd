#include "server/engine/learned_costs.h"

#include <gtest/gtest.h>

namespace attribution::engine {
namespace {

TEST(LearnedCostsTest, IsOneForAModelAndAnotherForAnother) {
  LearnedCosts costs;
  const auto model = std::make_shared<const models::ResidentModel>();
  const auto other = std::make_shared<const models::ResidentModel>();
  EXPECT_NE(costs.Of(model), nullptr);
  EXPECT_EQ(costs.Of(model), costs.Of(model));
  EXPECT_NE(costs.Of(model), costs.Of(other));
}

// What was learned of a version that is gone is no guide to the one that took its place in memory.
TEST(LearnedCostsTest, ForgetsAModelThatIsGone) {
  LearnedCosts costs;
  alignas(models::ResidentModel) static unsigned char place[sizeof(models::ResidentModel)];
  const auto make = [] {
    return std::shared_ptr<const models::ResidentModel>(
        new (place) models::ResidentModel, [](const models::ResidentModel* gone) { gone->~ResidentModel(); });
  };
  auto model = make();
  const auto learned = costs.Of(model);
  model.reset();
  model = make();
  EXPECT_NE(costs.Of(model), learned);
}

}  // namespace
}  // namespace attribution::engine
