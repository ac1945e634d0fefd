#include "server/engine/device.h"

#include <ATen/DeviceAccelerator.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace attribution::engine {
namespace {

using testing::HasSubstr;

TEST(DeviceTest, CpuIsTheCpu) { EXPECT_EQ(*ResolveDevice("cpu"), c10::Device(c10::kCPU)); }

TEST(DeviceTest, AutoIsTheFirstAcceleratorElseTheCpu) {
  const auto accelerator = at::getAccelerator(/*checked=*/false);
  const bool any = accelerator.has_value() && at::accelerator::deviceCount() > 0;
  EXPECT_EQ(*ResolveDevice("auto"), any ? c10::Device(*accelerator, 0) : c10::Device(c10::kCPU));
}

TEST(DeviceTest, UnknownNameSaysWhatMayBeChosen) {
  for (const char* name : {"abacus", "", "cuda:x", "cpu cpu"}) {
    const absl::Status status = ResolveDevice(name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr("choose auto, cpu, cuda or cuda:<number>")) << name;
  }
}

TEST(DeviceTest, AcceleratorThatIsNotHereIsInvalid) {
  const absl::Status status = ResolveDevice("cuda:99").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("not on this machine"));
}

TEST(DeviceTest, DeviceWithoutMemoryIsInvalid) {
  EXPECT_EQ(ResolveDevice("meta").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(DeviceTest, SeveralDevicesAreNamedOnceEach) {
  EXPECT_EQ(*ResolveDevices("cpu"), (std::vector<c10::Device>{c10::Device(c10::kCPU)}));
  EXPECT_THAT(std::string(ResolveDevices("cpu, cpu").status().message()), HasSubstr("named twice"));
  EXPECT_THAT(std::string(ResolveDevices("auto,cpu").status().message()), HasSubstr("auto"));
  EXPECT_EQ(ResolveDevices("cpu,").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(DeviceTest, CpuHasFreeMemory) { EXPECT_GT(FreeBytes(c10::Device(c10::kCPU)), 0); }

}  // namespace
}  // namespace attribution::engine
