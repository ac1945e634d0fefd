#include "server/models/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace attribution::models {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PlacementTest : public ::testing::Test {
 protected:
  // The devices that hold a model.
  static std::vector<size_t> Where(Placement& placement, const std::string& name, size_t devices,
                                   int64_t bytes = 0) {
    std::vector<size_t> where;
    for (size_t device = 0; device < devices; ++device) {
      if (placement.Holds(device, name, bytes)) where.push_back(device);
    }
    return where;
  }
};

TEST_F(PlacementTest, EveryDeviceHoldsAllIfItCan) {
  Placement placement({{"a", 10}, {"b", 20}}, {30, 40});
  EXPECT_THAT(Where(placement, "a", 2), ElementsAre(0, 1));
  EXPECT_THAT(Where(placement, "b", 2), ElementsAre(0, 1));
}

TEST_F(PlacementTest, LargestFirstWhereTheMostRoomIs) {
  Placement placement({{"a", 60}, {"b", 50}, {"c", 40}}, {100, 90});
  EXPECT_THAT(Where(placement, "a", 2), ElementsAre(0));
  EXPECT_THAT(Where(placement, "b", 2), ElementsAre(1));
  EXPECT_THAT(Where(placement, "c", 2), ElementsAre(0, 1));  // 40 are left on each: one is a copy
}

TEST_F(PlacementTest, RoomThatIsLeftTakesCopiesOfTheSmallest) {
  Placement placement({{"large", 80}, {"small", 10}, {"middle", 30}}, {100, 100});
  EXPECT_THAT(Where(placement, "large", 2), ElementsAre(0));
  EXPECT_THAT(Where(placement, "small", 2), ElementsAre(0, 1));
  EXPECT_THAT(Where(placement, "middle", 2), ElementsAre(1));
}

TEST_F(PlacementTest, ModelThatFitsNowhereIsPlacedAllTheSame) {
  Placement placement({{"a", 500}}, {100, 200});
  EXPECT_THAT(Where(placement, "a", 2), ElementsAre(1));  // whose load error says that it does not fit
}

TEST_F(PlacementTest, NewModelGoesWhereTheMostRoomIsAndStays) {
  Placement placement({{"a", 60}}, {100, 50});
  EXPECT_THAT(Where(placement, "new", 2, 30), ElementsAre(1));
  EXPECT_THAT(Where(placement, "other", 2, 10), ElementsAre(0));
  EXPECT_THAT(Where(placement, "new", 2, 30), ElementsAre(1));
}

TEST_F(PlacementTest, EqualModelsArePlacedAlikeEachTime) {
  for (int i = 0; i < 3; ++i) {
    Placement placement({{"a", 60}, {"b", 60}}, {100, 100});
    EXPECT_THAT(Where(placement, "b", 2), ElementsAre(0));
    EXPECT_THAT(Where(placement, "a", 2), ElementsAre(1));
  }
}

TEST_F(PlacementTest, NoDeviceIsOverfilledWhereAllFit) {
  const std::map<std::string, int64_t> models = {{"a", 50}, {"b", 40}, {"c", 30}, {"d", 20}, {"e", 10}};
  for (const std::vector<int64_t>& rooms :
       {std::vector<int64_t>{80, 75}, {70, 60, 50}, {150}, {50, 50, 50}}) {
    Placement placement(models, rooms);
    std::vector<int64_t> used(rooms.size(), 0);
    for (const auto& [name, bytes] : models) {
      EXPECT_THAT(Where(placement, name, rooms.size()), ::testing::Not(IsEmpty())) << name;
      for (const size_t device : Where(placement, name, rooms.size())) used[device] += bytes;
    }
    for (size_t device = 0; device < rooms.size(); ++device) EXPECT_LE(used[device], rooms[device]) << device;
  }
}

}  // namespace
}  // namespace attribution::models
