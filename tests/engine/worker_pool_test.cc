#include "server/engine/worker_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <memory>
#include <optional>
#include <vector>

namespace attribution::engine {
namespace {

using testing::ElementsAre;

TEST(WorkerPoolTest, OneThreadRunsTasksInOrder) {
  std::vector<int> order;
  {
    WorkerPool pool(1, nullptr, nullptr);
    for (int i = 0; i < 5; ++i) pool.Submit([&order, i] { order.push_back(i); });
  }
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4));
}

TEST(WorkerPoolTest, DestructorRunsWhatWasSubmitted) {
  std::atomic<int> ran = 0;
  std::latch start{1};
  std::optional<WorkerPool> pool;
  pool.emplace(2, nullptr, nullptr);
  for (int i = 0; i < 100; ++i) {
    pool->Submit([&] {
      start.wait();
      ++ran;
    });
  }
  start.count_down();
  pool.reset();
  EXPECT_EQ(ran, 100);
}

TEST(WorkerPoolTest, TasksOfTwoThreadsOverlap) {
  std::latch first{1};
  std::latch second{1};
  WorkerPool pool(2, nullptr, nullptr);
  pool.Submit([&] {
    first.count_down();
    second.wait();
  });
  pool.Submit([&] {
    second.count_down();
    first.wait();
  });
  first.wait();
  second.wait();
}

TEST(WorkerPoolTest, TaskMaySubmitTheNext) {
  std::latch done{1};
  WorkerPool pool(1, nullptr, nullptr);
  pool.Submit([&] { pool.Submit([&] { done.count_down(); }); });
  done.wait();
}

TEST(WorkerPoolTest, EachThreadIsPreparedOnceBeforeItsFirstTask) {
  static thread_local int prepared_here = 0;
  std::atomic<int> prepared = 0;
  std::atomic<int> wrong = 0;
  {
    WorkerPool pool(
        3,
        [&] {
          ++prepared_here;
          ++prepared;
        },
        nullptr);
    for (int i = 0; i < 50; ++i) {
      pool.Submit([&] {
        if (prepared_here != 1) ++wrong;
      });
    }
  }
  EXPECT_EQ(prepared, 3);
  EXPECT_EQ(wrong, 0);
}

TEST(WorkerPoolTest, TellsHowManyAreBusy) {
  std::vector<int> told;  // on_busy is called one at a time
  {
    std::latch first{1};
    std::latch second{1};
    WorkerPool pool(2, nullptr, [&](int32_t busy) { told.push_back(busy); });
    pool.Submit([&] {
      first.count_down();
      second.wait();
    });
    first.wait();
    pool.Submit([&] { second.count_down(); });
  }
  EXPECT_THAT(told, ElementsAre(1, 2, 1, 0));
}

TEST(WorkerPoolTest, WhatATaskHoldsGoesBeforeTheThreadIsIdle) {
  auto held = std::make_shared<int>(1);
  const std::weak_ptr<int> watch = held;
  std::latch idle{1};
  bool gone = false;
  WorkerPool pool(1, nullptr, [&](int32_t busy) {
    if (busy != 0) return;
    gone = watch.expired();
    idle.count_down();
  });
  pool.Submit([held = std::move(held)] {});
  idle.wait();
  EXPECT_TRUE(gone);
}

}  // namespace
}  // namespace attribution::engine
