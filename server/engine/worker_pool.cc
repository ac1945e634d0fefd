#include "server/engine/worker_pool.h"

#include <utility>

namespace attribution::engine {

WorkerPool::WorkerPool(int32_t threads, std::function<void()> prepare_thread,
                       std::function<void(int32_t)> on_busy)
    : prepare_thread_(std::move(prepare_thread)), on_busy_(std::move(on_busy)) {
  for (int32_t i = 0; i < threads; ++i) threads_.emplace_back([this] { RunTasks(); });
}

WorkerPool::~WorkerPool() {
  due_.release(static_cast<std::ptrdiff_t>(threads_.size()));
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::Submit(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  due_.release();
}

void WorkerPool::RunTasks() {
  if (prepare_thread_) prepare_thread_();
  while (true) {
    std::function<void()> task;
    due_.acquire();
    {
      const std::lock_guard lock(mutex_);
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
      if (on_busy_) on_busy_(++busy_);
    }
    task();
    task = nullptr;  // what it holds goes before the thread counts as idle
    const std::lock_guard lock(mutex_);
    if (on_busy_) on_busy_(--busy_);
  }
}

}  // namespace attribution::engine
