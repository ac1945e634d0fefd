#include "server/memory/out_of_memory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/api/module.h>

#include <new>
#include <stdexcept>

#include "attribution/status_details.h"
#include "server/memory/allocation_counter.h"
#include "tests/memory/failing_allocator.h"

namespace attribution::memory {
namespace {

TEST(OutOfMemoryTest, KnowsTheTypesThatSayIt) {
  AllocationCounter counter;
  counter.SetLimit(0);
  const AllocationScope scope(counter);
  try {
    CheckAllocation(1);
    FAIL() << "nothing was thrown";
  } catch (const std::exception& error) {
    EXPECT_TRUE(IsOutOfMemory(error));
  }
  EXPECT_TRUE(IsOutOfMemory(std::bad_alloc()));
  EXPECT_FALSE(IsOutOfMemory(std::runtime_error("out of memory")));
}

TEST(OutOfMemoryTest, StatusSaysWhatToDoAndKeepsTheDetailForTheLog) {
  const absl::Status status = OutOfMemory(std::runtime_error("7 bytes"));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), "OUT_OF_MEMORY");
  EXPECT_EQ(LogDetailOf(status), "7 bytes");
  EXPECT_TRUE(RetryDelayOf(status).has_value());
  EXPECT_TRUE(IsOutOfMemory(status));
  EXPECT_FALSE(IsOutOfMemory(absl::ResourceExhaustedError("The queue is full.")));
  EXPECT_FALSE(IsOutOfMemory(absl::OkStatus()));
}

// The interpreter loses the type of an exception; the watch has kept the fact.
TEST(OutOfMemoryWatchTest, SeesWhatTheInterpreterHides) {
  FailingMemory memory;
  torch::jit::Module module("__torch__.Module");
  module.define("def forward(self, x):\n    return x + 1\n");
  const at::Tensor x = at::ones({4});
  AllocationCounter counter;
  const AllocationScope scope(counter);
  const OutOfMemoryWatch watch;
  memory->FailAllocation(1);
  try {
    module.forward({x});
    FAIL() << "nothing was thrown";
  } catch (const std::exception& error) {
    EXPECT_FALSE(IsOutOfMemory(error)) << "torch keeps the type now: the watch can go";
  }
  EXPECT_TRUE(watch.happened());
  EXPECT_FALSE(OutOfMemoryWatch().happened());
}

TEST(OutOfMemoryWatchTest, SeesNothingOfAnotherJob) {
  AllocationCounter mine;
  const AllocationScope scope(mine);
  const OutOfMemoryWatch watch;
  {
    AllocationCounter other;
    other.SetLimit(0);
    const AllocationScope inner(other);
    EXPECT_THROW(CheckAllocation(1), c10::OutOfMemoryError);
  }
  EXPECT_FALSE(watch.happened());
}

}  // namespace
}  // namespace attribution::memory
