#include "server/memory/allocation_counter.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/ThreadLocalState.h>
#include <c10/core/Allocator.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>
#include <vector>

namespace attribution::memory {
namespace {

// A float tensor of that many KiB.
at::Tensor Kib(int64_t kib) { return at::empty({kib * 256}, at::kFloat); }
constexpr int64_t kKib = 1024;

TEST(AllocationCounterTest, CountsAKnownSequenceExactly) {
  AllocationCounter counter;
  const AllocationScope scope(counter);
  at::Tensor a = Kib(16);
  at::Tensor b = Kib(32);
  EXPECT_EQ(counter.live_bytes(), 48 * kKib);
  a.reset();
  EXPECT_EQ(counter.live_bytes(), 32 * kKib);
  const at::Tensor c = Kib(8);
  EXPECT_EQ(counter.live_bytes(), 40 * kKib);
  EXPECT_EQ(counter.peak_bytes(), 48 * kKib);
}

TEST(AllocationCounterTest, CountsTemporariesOfAnOperator) {
  const at::Tensor a = at::ones({64, 64});
  AllocationCounter counter;
  {
    const AllocationScope scope(counter);
    at::Tensor b = a + a;  // 16 KiB
    b = b * b;             // 16 KiB more before the first is freed
  }
  EXPECT_EQ(counter.peak_bytes(), 32 * kKib);
  EXPECT_EQ(counter.live_bytes(), 0);
}

TEST(AllocationCounterTest, ViewsCostNothing) {
  const at::Tensor a = Kib(16);
  AllocationCounter counter;
  const AllocationScope scope(counter);
  const at::Tensor view = a.view({64, 64}).transpose(0, 1).narrow(0, 0, 2);
  EXPECT_EQ(counter.peak_bytes(), 0);
}

TEST(AllocationCounterTest, FreeingEarlierBlocksDoesNotCount) {
  at::Tensor earlier = Kib(64);
  AllocationCounter counter;
  const AllocationScope scope(counter);
  const at::Tensor own = Kib(4);
  earlier.reset();
  EXPECT_EQ(counter.live_bytes(), 4 * kKib);
  const at::Tensor more = Kib(4);
  EXPECT_EQ(counter.peak_bytes(), 8 * kKib);
}

TEST(AllocationCounterTest, CountsNothingOutsideItsScopes) {
  AllocationCounter counter;
  {
    const AllocationScope scope(counter);
  }
  const at::Tensor a = Kib(16);
  EXPECT_EQ(counter.peak_bytes(), 0);
}

TEST(AllocationCounterTest, GoesOnInALaterScope) {
  AllocationCounter counter;
  at::Tensor kept;
  {
    const AllocationScope scope(counter);
    kept = Kib(16);
  }
  const AllocationScope scope(counter);
  const at::Tensor more = Kib(4);
  EXPECT_EQ(counter.peak_bytes(), 20 * kKib);
  kept.reset();
  EXPECT_EQ(counter.live_bytes(), 4 * kKib);
}

TEST(AllocationCounterTest, GoesOnOnAnotherThread) {
  AllocationCounter counter;
  at::Tensor kept;
  std::thread([&] {
    const AllocationScope scope(counter);
    kept = Kib(16);
  }).join();
  std::thread([&] {
    const AllocationScope scope(counter);
    kept.reset();
  }).join();
  EXPECT_EQ(counter.peak_bytes(), 16 * kKib);
  EXPECT_EQ(counter.live_bytes(), 0);
}

TEST(AllocationCounterTest, AnAddressThatComesBackReplacesItsOldBlock) {
  AllocationCounter counter;
  const AllocationScope scope(counter);
  int block = 0;
  auto* recorder = static_cast<c10::MemoryReportingInfoBase*>(
      c10::ThreadLocalDebugInfo::get(c10::DebugInfoKind::PROFILER_STATE));
  recorder->reportMemoryUsage(&block, 100, 0, 0, at::kCPU);
  recorder->reportMemoryUsage(&block, 40, 0, 0, at::kCPU);
  EXPECT_EQ(counter.live_bytes(), 40);
  EXPECT_EQ(counter.peak_bytes(), 100);
}

TEST(AllocationCounterTest, ExternalBytesAddToThePeak) {
  AllocationCounter counter;
  const AllocationScope scope(counter);
  counter.AddExternal(10 * kKib);
  at::Tensor a = Kib(16);
  counter.AddExternal(-10 * kKib);
  EXPECT_EQ(counter.live_bytes(), 16 * kKib);
  EXPECT_EQ(counter.peak_bytes(), 26 * kKib);
  EXPECT_EQ(counter.attention_peak_bytes(), 0);
}

TEST(AllocationCounterTest, TwoThreadsWithTwoCountersDoNotMix) {
  AllocationCounter counters[2];
  std::vector<std::thread> threads;
  for (int64_t i = 0; i < 2; ++i) {
    threads.emplace_back([&counters, i] {
      const AllocationScope scope(counters[i]);
      for (int k = 0; k < 100; ++k) Kib(8 * (i + 1));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counters[0].peak_bytes(), 8 * kKib);
  EXPECT_EQ(counters[1].peak_bytes(), 16 * kKib);
}

TEST(HelpingThreadTest, ThreadLocalStateCarriesTheCounter) {
  AllocationCounter counter;
  const AllocationScope scope(counter);
  const AttentionScope attention;  // of this thread alone
  at::Tensor activation;
  at::Tensor scores;
  const at::ThreadLocalState state;
  std::thread([&] {
    const at::ThreadLocalStateGuard guard(state);
    activation = Kib(16);
    const AttentionScope own;
    scores = Kib(4);
  }).join();
  EXPECT_EQ(counter.live_bytes(), 20 * kKib);
  EXPECT_EQ(counter.attention_peak_bytes(), 4 * kKib);
  scores.reset();
  EXPECT_EQ(counter.live_bytes(), 16 * kKib);
}

TEST(HelpingThreadTest, LimitHoldsThereToo) {
  AllocationCounter counter;
  counter.SetLimit(kKib);
  const AllocationScope scope(counter);
  const at::ThreadLocalState state;
  std::thread([&] {
    EXPECT_NO_THROW(CheckAllocation(2 * kKib));
    const at::ThreadLocalStateGuard guard(state);
    EXPECT_THROW(CheckAllocation(2 * kKib), c10::OutOfMemoryError);
  }).join();
  EXPECT_EQ(FailedAllocations(), 1);
}

TEST(HelpingThreadTest, ParallelLoopIsCountedWhole) {
  const int threads = at::get_num_threads();
  at::set_num_threads(4);
  AllocationCounter counter;
  {
    const AllocationScope scope(counter);
    std::vector<at::Tensor> kept(64);
    const at::ThreadLocalState state;
    at::parallel_for(0, 64, /*grain_size=*/1, [&](int64_t begin, int64_t end) {
      const at::ThreadLocalStateGuard guard(state);
      for (int64_t i = begin; i < end; ++i) {
        const AttentionScope attention;
        kept[i] = Kib(1);
        Kib(64);
      }
    });
    EXPECT_EQ(counter.live_bytes(), 64 * kKib);
    EXPECT_GE(counter.attention_peak_bytes(), 128 * kKib);
  }
  EXPECT_EQ(counter.live_bytes(), 0);
  at::set_num_threads(threads);
}

TEST(AllocationScopeTest, InnermostCounterCounts) {
  AllocationCounter outer;
  AllocationCounter inner;
  const AllocationScope outer_scope(outer);
  const at::Tensor a = Kib(1);
  {
    const AllocationScope inner_scope(inner);
    const at::Tensor b = Kib(2);
  }
  const at::Tensor c = Kib(4);
  EXPECT_EQ(outer.peak_bytes(), 5 * kKib);
  EXPECT_EQ(inner.peak_bytes(), 2 * kKib);
}

TEST(AllocationScopeTest, ExceptionRemovesTheCounter) {
  AllocationCounter counter;
  const auto fail = [&counter] {
    const AllocationScope scope(counter);
    const AttentionScope attention;
    const at::Tensor a = Kib(2);
    throw std::runtime_error("model failed");
  };
  EXPECT_THROW(fail(), std::runtime_error);
  EXPECT_EQ(c10::ThreadLocalDebugInfo::get(c10::DebugInfoKind::PROFILER_STATE), nullptr);
  EXPECT_EQ(counter.live_bytes(), 0);
  const at::Tensor later = Kib(8);
  EXPECT_EQ(counter.peak_bytes(), 2 * kKib);
}

TEST(AttentionScopeTest, CountsItsShareApart) {
  AllocationCounter counter;
  const AllocationScope scope(counter);
  const at::Tensor activation = Kib(16);
  at::Tensor rollout;
  {
    const AttentionScope attention;
    rollout = Kib(4);
    {
      const AttentionScope nested;
      const at::Tensor scores = Kib(2);
    }
  }
  const at::Tensor another = Kib(32);
  EXPECT_EQ(counter.attention_peak_bytes(), 6 * kKib);
  EXPECT_EQ(counter.peak_bytes(), 52 * kKib);
}

TEST(AttentionScopeTest, FreeOutsideGoesToTheRightAccount) {
  AllocationCounter counter;
  const AllocationScope scope(counter);
  const auto allocate = [] {
    const AttentionScope attention;
    return Kib(4);
  };
  at::Tensor first = allocate();
  first.reset();
  at::Tensor activation = Kib(4);
  {
    const AttentionScope attention;
    activation.reset();
  }
  const at::Tensor second = allocate();
  EXPECT_EQ(counter.attention_peak_bytes(), 4 * kKib);
  EXPECT_EQ(counter.live_bytes(), 4 * kKib);
}

TEST(AttentionScopeTest, WithoutACounterDoesNothing) {
  AllocationCounter counter;
  {
    const AttentionScope attention;
    const at::Tensor a = Kib(4);
  }
  const AllocationScope scope(counter);
  const at::Tensor b = Kib(4);
  EXPECT_EQ(counter.attention_peak_bytes(), 0);
}

TEST(AllocationCounterTest, RecentPeakStartsAnewFromWhatLives) {
  AllocationCounter counter;
  const AllocationScope scope(counter);
  counter.AddExternal(100);
  counter.AddExternal(-70);
  EXPECT_EQ(counter.TakeRecentPeak(), 100);
  EXPECT_EQ(counter.TakeRecentPeak(), 30);
  counter.AddExternal(20);
  counter.AddExternal(-50);
  EXPECT_EQ(counter.TakeRecentPeak(), 50);
  EXPECT_EQ(counter.peak_bytes(), 100);
}

// On a device whose allocator does not refuse, an excess is noticed afterwards.
TEST(AllocationCounterTest, CheckLimitThrowsAfterAnExcess) {
  AllocationCounter counter;
  CheckLimit();  // without a counter, nothing
  const AllocationScope scope(counter);
  counter.SetLimit(40 * kKib);
  const at::Tensor a = Kib(16);
  CheckLimit();
  counter.AddExternal(32 * kKib);
  EXPECT_THROW(CheckLimit(), c10::OutOfMemoryError);
  EXPECT_EQ(counter.failed_allocations(), 1);
  EXPECT_EQ(counter.refused_bytes(), 48 * kKib);
}

TEST(AllocationCounterTest, TellsWhatTheLimitRefused) {
  AllocationCounter counter;
  const AllocationScope scope(counter);
  counter.SetLimit(40 * kKib);
  const at::Tensor a = Kib(16);
  EXPECT_EQ(counter.refused_bytes(), 0);
  EXPECT_THROW(CheckAllocation(32 * kKib), c10::OutOfMemoryError);
  EXPECT_THROW(CheckAllocation(25 * kKib), c10::OutOfMemoryError);
  EXPECT_EQ(counter.refused_bytes(), 48 * kKib);
}

TEST(LedgerTest, AddsUpCountersAndForgetsThemWhenTheyEnd) {
  Ledger ledger;
  AllocationCounter first(&ledger);
  first.AddExternal(10);
  {
    AllocationCounter second(&ledger);
    second.AddExternal(30);
    first.AddExternal(-5);
    EXPECT_EQ(ledger.peak_bytes(), 40);
  }
  first.AddExternal(20);  // 25: the second is gone
  EXPECT_EQ(ledger.peak_bytes(), 40);
  first.AddExternal(20);
  EXPECT_EQ(ledger.peak_bytes(), 45);
}

}  // namespace
}  // namespace attribution::memory
