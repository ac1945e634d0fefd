#include "server/engine/worker_pool.h"

#include <chrono>
#include <utility>

namespace attribution::engine {

WorkerPool::WorkerPool(int32_t threads, std::function<void()> prepare_thread,
                       std::function<void(int32_t)> on_busy)
    : prepare_thread_(std::move(prepare_thread)), on_busy_(std::move(on_busy)) {
  for (int32_t i = 0; i < threads; ++i) threads_.emplace_back([this] { RunTasks(); });
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::Submit(std::function<void()> task, std::function<void()> afterwards) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back({std::move(task), std::move(afterwards)});
  }
  changed_.notify_one();
}

void WorkerPool::RunTasks() {
  if (prepare_thread_) prepare_thread_();
  std::unique_lock lock(mutex_);
  while (true) {
    // Not wait(): it would lock inside libstdc++, where the thread sanitizer does not see it.
    while (!changed_.wait_for(lock, std::chrono::hours(1), [this] { return ending_ || !tasks_.empty(); })) {
    }
    if (tasks_.empty()) return;
    Task task = std::move(tasks_.front());
    tasks_.pop_front();
    if (on_busy_) on_busy_(++busy_);
    lock.unlock();
    task.run();
    task.run = nullptr;  // what it holds goes before the thread counts as idle
    lock.lock();
    if (on_busy_) on_busy_(--busy_);
    lock.unlock();
    if (task.afterwards) task.afterwards();
    task = {};
    lock.lock();
  }
}

}  // namespace attribution::engine
