#include "server/memory/refusing_allocator.h"

#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "server/memory/allocation_counter.h"
#include "server/memory/out_of_memory.h"
#include "tests/memory/failing_allocator.h"
#include "tests/memory/virtual_bytes.h"

namespace attribution::memory {
namespace {

constexpr int64_t kMib = int64_t{1} << 20;

at::Tensor Mib(int64_t mib) { return at::empty({mib * kMib / 4}, at::kFloat); }

class RefusingAllocatorTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { InstallRefusingAllocator(); }

  AllocationCounter counter_;
};

TEST_F(RefusingAllocatorTest, IsInstalledOnce) {
  c10::Allocator* const first = c10::GetCPUAllocator();
  EXPECT_NE(first, c10::GetDefaultCPUAllocator());
  InstallRefusingAllocator();
  EXPECT_EQ(c10::GetCPUAllocator(), first);
}

TEST_F(RefusingAllocatorTest, BlocksAreThoseOfTorchsOwnAllocator) {
  const at::Tensor tensor = Mib(1);
  const c10::DataPtr& block = tensor.storage().data_ptr();
  EXPECT_EQ(block.get_deleter(), c10::GetDefaultCPUAllocator()->raw_deleter());
  EXPECT_EQ(c10::GetCPUAllocator()->raw_deleter(), c10::GetDefaultCPUAllocator()->raw_deleter());
  EXPECT_TRUE(c10::GetCPUAllocator()->is_simple_data_ptr(block));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(block.get()) % 64, 0U);  // the alignment that vector code wants
}

TEST_F(RefusingAllocatorTest, ReportsABlockOnce) {
  const AllocationScope scope(counter_);
  at::Tensor tensor = Mib(1);
  EXPECT_EQ(counter_.live_bytes(), kMib);
  tensor.reset();
  EXPECT_EQ(counter_.live_bytes(), 0);
}

TEST_F(RefusingAllocatorTest, RefusesExactlyAboveTheLimit) {
  counter_.SetLimit(3 * kMib);
  const AllocationScope scope(counter_);
  const at::Tensor first = Mib(1);
  at::Tensor second = Mib(2);  // the limit to the byte
  EXPECT_THROW(at::empty({1}, at::kByte), c10::OutOfMemoryError);
  second.reset();
  const at::Tensor third = Mib(2);
  EXPECT_EQ(counter_.peak_bytes(), 3 * kMib);
  EXPECT_EQ(counter_.failed_allocations(), 1);
  EXPECT_FALSE(counter_.exceeded_limit());
}

TEST_F(RefusingAllocatorTest, ExternalBytesCountTowardsTheLimit) {
  counter_.SetLimit(2 * kMib);
  const AllocationScope scope(counter_);
  counter_.AddExternal(kMib + 1);
  EXPECT_THROW(Mib(1), c10::OutOfMemoryError);
  counter_.AddExternal(-1);
  EXPECT_NO_THROW(Mib(1));
}

TEST_F(RefusingAllocatorTest, AnotherJobIsNotRefused) {
  counter_.SetLimit(kMib);
  {
    const AllocationScope scope(counter_);
    EXPECT_THROW(Mib(2), c10::OutOfMemoryError);
  }
  EXPECT_NO_THROW(Mib(2));
  AllocationCounter other;
  const AllocationScope scope(other);
  EXPECT_NO_THROW(Mib(2));
  EXPECT_EQ(other.failed_allocations(), 0);
}

TEST_F(RefusingAllocatorTest, RefusedBlocksDoNotLeak) {
  counter_.SetLimit(kMib);
  const AllocationScope scope(counter_);
  const int64_t before = VirtualBytes();
  for (int i = 0; i < 50; ++i) EXPECT_THROW(Mib(100), c10::OutOfMemoryError);
  EXPECT_LT(VirtualBytes() - before, 50 * kMib);
  EXPECT_EQ(counter_.live_bytes(), 0);
  EXPECT_EQ(counter_.failed_allocations(), 50);
}

TEST_F(RefusingAllocatorTest, MemoryThatDoesNotExistIsTheSameError) {
  if (!kOwnMalloc) GTEST_SKIP() << "A sanitizer ends the process here.";
  const AllocationScope scope(counter_);
  const OutOfMemoryWatch watch;
  EXPECT_THROW(at::empty({int64_t{1} << 60}, at::kByte), c10::OutOfMemoryError);
  EXPECT_TRUE(watch.happened());
  EXPECT_EQ(counter_.failed_allocations(), 1);
}

TEST_F(RefusingAllocatorTest, NoAllocatorBehindIsAskedForWhatIsRefused) {
  FailingMemory memory;
  memory->FailAllocation(0);
  counter_.SetLimit(kMib);
  const AllocationScope scope(counter_);
  EXPECT_THROW(Mib(2), c10::OutOfMemoryError);
  EXPECT_EQ(memory->count(), 0);
  Mib(1);
  EXPECT_EQ(memory->count(), 1);
}

TEST_F(RefusingAllocatorTest, TheOneThatFailsFailsAlone) {
  FailingMemory memory;
  memory->FailAllocation(2);
  const AllocationScope scope(counter_);
  EXPECT_NO_THROW(Mib(1));
  EXPECT_THROW(Mib(1), c10::OutOfMemoryError);
  EXPECT_NO_THROW(Mib(1));
  EXPECT_EQ(counter_.failed_allocations(), 1);
}

TEST(AllocationLimitTest, IsUnlimitedToBeginWith) {
  AllocationCounter counter;
  const AllocationScope scope(counter);
  const at::Tensor tensor = Mib(1);
  EXPECT_NO_THROW(CheckAllocation(std::numeric_limits<int64_t>::max() - kMib));
  EXPECT_FALSE(counter.exceeded_limit());
}

TEST(AllocationLimitTest, WithoutACounterNothingIsRefused) {
  EXPECT_NO_THROW(CheckAllocation(kUnlimited));
  EXPECT_EQ(FailedAllocations(), 0);
}

// A device whose allocator does not refuse tells afterwards.
TEST(AllocationLimitTest, AnExcessOnAnotherDeviceIsNoticed) {
  AllocationCounter counter;
  counter.SetLimit(kMib);
  const AllocationScope scope(counter);
  int block = 0;
  const c10::Device device(c10::kCUDA, 0);
  c10::reportMemoryUsageToProfiler(&block, kMib, 0, 0, device);
  EXPECT_FALSE(counter.exceeded_limit());
  int another = 0;
  c10::reportMemoryUsageToProfiler(&another, 1, 0, 0, device);
  EXPECT_TRUE(counter.exceeded_limit());
  c10::reportOutOfMemoryToProfiler(kMib, 0, 0, device);
  EXPECT_EQ(counter.failed_allocations(), 1);
}

}  // namespace
}  // namespace attribution::memory
