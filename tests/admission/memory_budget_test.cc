#include "server/admission/memory_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace attribution::admission {
namespace {

using ::testing::ElementsAre;

TEST(MemoryBudgetTest, ReservesAllOrNothing) {
  MemoryBudget budget(100, nullptr);
  const std::optional<Reservation> first = budget.TryReserve(60);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->bytes(), 60);
  EXPECT_FALSE(budget.TryReserve(41).has_value());
  EXPECT_EQ(budget.reserved_bytes(), 60);
  EXPECT_EQ(budget.free_bytes(), 40);
  EXPECT_TRUE(budget.TryReserve(40).has_value());
}

TEST(MemoryBudgetTest, RefusesNegativeBytes) {
  MemoryBudget budget(100, nullptr);
  EXPECT_FALSE(budget.TryReserve(-1).has_value());
}

TEST(MemoryBudgetTest, GivesBackWhenTheReservationEnds) {
  MemoryBudget budget(100, nullptr);
  {
    const std::optional<Reservation> reservation = budget.TryReserve(60);
  }
  EXPECT_EQ(budget.reserved_bytes(), 0);
}

TEST(MemoryBudgetTest, ReleasesOnce) {
  MemoryBudget budget(100, nullptr);
  std::optional<Reservation> kept = budget.TryReserve(30);
  std::optional<Reservation> reservation = budget.TryReserve(60);
  reservation->Release();
  reservation->Release();
  reservation.reset();
  EXPECT_EQ(budget.reserved_bytes(), 30);
}

TEST(MemoryBudgetTest, ShrinksAndNeverGrows) {
  MemoryBudget budget(100, nullptr);
  std::optional<Reservation> reservation = budget.TryReserve(60);
  reservation->Shrink(20);
  EXPECT_EQ(reservation->bytes(), 20);
  EXPECT_EQ(budget.reserved_bytes(), 20);
  reservation->Shrink(50);
  EXPECT_EQ(reservation->bytes(), 20);
  reservation->Shrink(-5);
  EXPECT_EQ(reservation->bytes(), 0);
  EXPECT_EQ(budget.reserved_bytes(), 0);
}

TEST(MemoryBudgetTest, MovingKeepsTheBytes) {
  MemoryBudget budget(100, nullptr);
  Reservation first = *budget.TryReserve(60);
  Reservation second = std::move(first);
  EXPECT_EQ(second.bytes(), 60);
  EXPECT_EQ(budget.reserved_bytes(), 60);
  Reservation third = *budget.TryReserve(30);
  third = std::move(second);
  EXPECT_EQ(third.bytes(), 60);
  EXPECT_EQ(budget.reserved_bytes(), 60);
}

TEST(MemoryBudgetTest, TellsEveryChangeInOrder) {
  std::vector<int64_t> told;
  MemoryBudget budget(100, [&told](int64_t reserved) { told.push_back(reserved); });
  std::optional<Reservation> first = budget.TryReserve(60);
  EXPECT_FALSE(budget.TryReserve(60).has_value());
  std::optional<Reservation> second = budget.TryReserve(40);
  first->Shrink(10);
  first->Release();
  second.reset();
  EXPECT_THAT(told, ElementsAre(60, 100, 50, 40, 0));
}

TEST(MemoryBudgetTest, SplitsAReservation) {
  MemoryBudget budget(100, nullptr);
  std::optional<Reservation> whole = budget.TryReserve(60);
  Reservation part = whole->Split(20);
  EXPECT_EQ(whole->bytes(), 40);
  EXPECT_EQ(part.bytes(), 20);
  EXPECT_EQ(budget.reserved_bytes(), 60);
  whole->Release();
  EXPECT_EQ(budget.reserved_bytes(), 20);
  part.Release();
  EXPECT_EQ(budget.reserved_bytes(), 0);
}

TEST(MemoryBudgetTest, SplitsNoMoreThanThereIs) {
  MemoryBudget budget(100, nullptr);
  std::optional<Reservation> whole = budget.TryReserve(60);
  EXPECT_EQ(whole->Split(-1).bytes(), 0);
  EXPECT_EQ(whole->bytes(), 60);
  const Reservation all = whole->Split(61);
  EXPECT_EQ(all.bytes(), 60);
  EXPECT_EQ(whole->bytes(), 0);
  EXPECT_EQ(Reservation().Split(1).bytes(), 0);
}

TEST(MemoryBudgetTest, AbsorbsAnother) {
  MemoryBudget budget(100, nullptr);
  std::optional<Reservation> first = budget.TryReserve(60);
  first->Absorb(*budget.TryReserve(30));
  EXPECT_EQ(first->bytes(), 90);
  EXPECT_EQ(budget.reserved_bytes(), 90);
  first->Absorb(Reservation());
  EXPECT_EQ(first->bytes(), 90);
  first.reset();
  EXPECT_EQ(budget.reserved_bytes(), 0);
}

TEST(MemoryBudgetTest, WhatHeldNothingMayAbsorb) {
  MemoryBudget budget(100, nullptr);
  {
    Reservation reservation;
    reservation.Absorb(*budget.TryReserve(30));
    EXPECT_EQ(reservation.bytes(), 30);
    EXPECT_EQ(budget.reserved_bytes(), 30);
  }
  EXPECT_EQ(budget.reserved_bytes(), 0);
}

TEST(MemoryBudgetTest, HearsNothingOfSplitAndAbsorb) {
  std::vector<int64_t> told;
  MemoryBudget budget(100, [&told](int64_t reserved) { told.push_back(reserved); });
  int released = 0;
  std::optional<Reservation> whole = budget.TryReserve(60);
  budget.SetReleaseListener([&released] { ++released; });
  whole->Absorb(whole->Split(20));
  EXPECT_THAT(told, ElementsAre(60));
  EXPECT_EQ(released, 0);
  whole.reset();
  budget.SetReleaseListener(nullptr);
  EXPECT_THAT(told, ElementsAre(60, 0));
}

TEST(MemoryBudgetTest, ListenerMayReserveWhatWasReleased) {
  MemoryBudget budget(100, nullptr);
  std::optional<Reservation> first = budget.TryReserve(100);
  std::optional<Reservation> second;
  budget.SetReleaseListener([&] { second = budget.TryReserve(70); });
  first->Shrink(30);
  budget.SetReleaseListener(nullptr);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(budget.reserved_bytes(), 100);
}

TEST(MemoryBudgetTest, ASmallerBudgetLeavesReservationsAlone) {
  MemoryBudget budget(100, nullptr);
  std::optional<Reservation> reservation = budget.TryReserve(80);
  budget.SetBudget(50);
  EXPECT_EQ(budget.budget_bytes(), 50);
  EXPECT_EQ(budget.reserved_bytes(), 80);
  EXPECT_EQ(budget.free_bytes(), 0);
  EXPECT_FALSE(budget.TryReserve(1).has_value());
  reservation->Release();
  EXPECT_TRUE(budget.TryReserve(50).has_value());
}

TEST(MemoryBudgetTest, ALargerBudgetTellsTheListener) {
  MemoryBudget budget(100, nullptr);
  int calls = 0;
  budget.SetReleaseListener([&calls] { ++calls; });
  budget.SetBudget(200);
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(budget.TryReserve(200).has_value());
}

TEST(MemoryBudgetTest, ThreadsNeverReserveMoreThanTheBudget) {
  int64_t most = 0;  // written under the budget's lock
  MemoryBudget budget(100, [&most](int64_t reserved) { most = std::max(most, reserved); });
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&budget, t] {
      for (int i = 0; i < 2000; ++i) {
        std::optional<Reservation> reservation = budget.TryReserve(20 + (i * 7 + t) % 40);
        if (reservation.has_value()) reservation->Shrink(i % 20);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, 100);
  EXPECT_GT(most, 0);
  EXPECT_EQ(budget.reserved_bytes(), 0);
}

}  // namespace
}  // namespace attribution::admission
