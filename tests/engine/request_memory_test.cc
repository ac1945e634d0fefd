#include "server/engine/request_memory.h"

#include <gtest/gtest.h>

#include <memory>

namespace attribution::engine {
namespace {

class RequestMemoryTest : public testing::Test {
 protected:
  admission::MemoryBudget budget_{1000, nullptr};
  std::shared_ptr<RequestMemory> memory_ = std::make_shared<RequestMemory>(*budget_.TryReserve(600));
};

TEST_F(RequestMemoryTest, HoldsAllWhileItComputes) {
  EventMemory event = memory_->Hold(100);
  event.reset();
  EXPECT_EQ(budget_.reserved_bytes(), 600);
  EXPECT_EQ(memory_->reserved_bytes(), 600);
}

TEST_F(RequestMemoryTest, KeepsWhatIsUnsentAfterwards) {
  EventMemory first = memory_->Hold(100);
  EventMemory second = memory_->Hold(50);
  memory_->EndComputing();
  EXPECT_EQ(budget_.reserved_bytes(), 150);
  const EventMemory copy = first;
  first.reset();
  EXPECT_EQ(budget_.reserved_bytes(), 150);  // the copy holds it
  second.reset();
  EXPECT_EQ(budget_.reserved_bytes(), 100);
}

TEST_F(RequestMemoryTest, EventsOutliveTheRequest) {
  EventMemory event = memory_->Hold(100);
  memory_->EndComputing();
  memory_.reset();
  EXPECT_EQ(budget_.reserved_bytes(), 100);
  event.reset();
  EXPECT_EQ(budget_.reserved_bytes(), 0);
}

TEST_F(RequestMemoryTest, GivesEverythingBackIfItNeverEnded) {
  memory_.reset();
  EXPECT_EQ(budget_.reserved_bytes(), 0);
}

TEST_F(RequestMemoryTest, NothingIsHeldForNothing) { EXPECT_EQ(memory_->Hold(0), nullptr); }

TEST_F(RequestMemoryTest, TellsWhenEverythingIsSent) {
  int resumed = 0;
  memory_->WhenSent([&] { ++resumed; });
  EXPECT_EQ(resumed, 1);
  EventMemory first = memory_->Hold(100);
  EventMemory second = memory_->Hold(50);
  memory_->WhenSent([&] { ++resumed; });
  first.reset();
  EXPECT_EQ(resumed, 1);
  second.reset();
  EXPECT_EQ(resumed, 2);
}

// More is unsent than was reserved only where an estimate was wrong; what is held is what there is.
TEST_F(RequestMemoryTest, MoreUnsentThanReservedKeepsAll) {
  EventMemory event = memory_->Hold(700);
  memory_->EndComputing();
  EXPECT_EQ(budget_.reserved_bytes(), 600);
  event.reset();
  EXPECT_EQ(budget_.reserved_bytes(), 0);
}

}  // namespace
}  // namespace attribution::engine
