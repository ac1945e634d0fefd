// What Residency does when it looks at the repository by itself.
#include "tests/models/residency_fixture.h"

namespace attribution::models {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(ResidencyTest, PollTakesWhatIsNewOnceItNoLongerChanges) {
  Start();
  Write("a/1", "half");
  residency_->Poll();
  Write("a/1", "half and the rest");
  residency_->Poll();
  EXPECT_THAT(States(), ElementsAre("a/1 unloaded"));
  residency_->Poll();
  EXPECT_THAT(States(), ElementsAre("a/1 serving"));
  residency_->Poll();
  EXPECT_EQ(loads_, 1);
}

TEST_F(ResidencyTest, PollReplacesWhatChangedAndDropsWhatIsGone) {
  Write("a/1");
  Write("b/1");
  Start();
  Write("a/1", "other bytes");
  fs::remove_all(directory_.path() / "b");
  residency_->Poll();
  residency_->Poll();
  EXPECT_EQ(loads_, 3);
  EXPECT_THAT(States(), ElementsAre("a/1 serving"));
  EXPECT_THAT(changes_, ElementsAre("b/1 unloaded", "a/1 serving"));
}

TEST_F(ResidencyTest, PollGoesBackToAnOlderVersionWhenTheNewOneIsGone) {
  Write("a/1");
  Start();
  Write("a/2");
  residency_->Poll();
  residency_->Poll();
  EXPECT_THAT(States(), ElementsAre("a/1 unloaded", "a/2 serving"));
  fs::remove_all(directory_.path() / "a" / "2");
  residency_->Poll();
  EXPECT_THAT(States(), ElementsAre("a/1 serving"));
}

TEST_F(ResidencyTest, PollLeavesAloneWhatWasUnloadedOrFailed) {
  Write("a/1");
  Write("b/1", "broken");
  Start();
  ASSERT_TRUE(Unload("a").ok());
  changes_.clear();
  residency_->Poll();
  residency_->Poll();
  EXPECT_THAT(changes_, IsEmpty());
  Write("b/1", "mended now");
  residency_->Poll();
  residency_->Poll();
  EXPECT_THAT(States(), ElementsAre("a/1 unloaded", "b/1 serving"));
}

}  // namespace
}  // namespace attribution::models
