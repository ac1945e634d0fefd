#include "server/engine/device_health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/device.h"

namespace attribution::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class DeviceHealthTest : public testing::Test {
 protected:
  DeviceHealthTest() {
    health_.Watch([this](const DeviceState& state) { told_.push_back(state.status.ok()); });
  }

  // What the owner's timer does when it is time.
  void Tick() {
    now_ = health_.NextCheck();
    health_.Check();
  }

  // Lets the test that was begun come back.
  void Finish(absl::Status result) {
    result_ = std::move(result);
    begun_.front()();
    begun_.pop_front();
  }

  absl::Time now_ = absl::UnixEpoch();
  absl::Status result_;
  std::deque<std::function<void()>> begun_;
  std::vector<bool> told_;
  DeviceHealth health_{"cuda:0", [this] { return result_; },
                       [this](std::function<void()> test) { begun_.push_back(std::move(test)); },
                       [this] { return now_; }};
};

TEST_F(DeviceHealthTest, IsWellUntilATestSaysOtherwise) {
  EXPECT_THAT(told_, ElementsAre(true));
  EXPECT_EQ(health_.NextCheck(), now_);  // the first is due at once
}

TEST_F(DeviceHealthTest, TellsChangesOnly) {
  for (const bool well : {true, false, false, true, true}) {
    Tick();
    Finish(well ? absl::OkStatus() : absl::InternalError("It sparks."));
  }
  EXPECT_THAT(told_, ElementsAre(true, false, true));
}

TEST_F(DeviceHealthTest, WhoComesLaterHearsHowItIsNow) {
  Tick();
  Finish(absl::InternalError("It sparks."));
  std::vector<DeviceState> heard;
  health_.Watch([&heard](const DeviceState& state) { heard.push_back(state); });
  ASSERT_EQ(heard.size(), 1);
  EXPECT_EQ(heard[0].device, "cuda:0");
  EXPECT_EQ(heard[0].status.message(), "It sparks.");
}

TEST_F(DeviceHealthTest, TestsNothingBeforeItIsTime) {
  Tick();
  Finish(absl::OkStatus());
  now_ += DeviceHealth::kInterval - absl::Nanoseconds(1);
  health_.Check();
  EXPECT_THAT(begun_, IsEmpty());
  now_ += absl::Nanoseconds(1);
  health_.Check();
  EXPECT_EQ(begun_.size(), 1);
}

TEST_F(DeviceHealthTest, DeviceThatHangsIsIllOncePatienceEnds) {
  Tick();
  const absl::Time began = now_;
  while (now_ - began < DeviceHealth::kPatience) {
    EXPECT_THAT(told_, ElementsAre(true)) << now_ - began;
    Tick();
  }
  EXPECT_THAT(told_, ElementsAre(true, false));
  EXPECT_EQ(begun_.size(), 1);  // no second test waits behind the one that hangs
  Finish(absl::OkStatus());
  EXPECT_THAT(told_, ElementsAre(true, false, true));
  Tick();
  EXPECT_EQ(begun_.size(), 1);
}

TEST(TestDeviceTest, CpuComputes) { EXPECT_TRUE(TestDevice(c10::Device(c10::kCPU)).ok()); }

// Tensors of "meta" have no values: what comes of a sum cannot be read.
TEST(TestDeviceTest, DeviceThatGivesNoValuesIsIll) {
  const absl::Status status = TestDevice(c10::Device(c10::kMeta));
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("The device does not compute. On meta: "));
}

}  // namespace
}  // namespace attribution::engine
