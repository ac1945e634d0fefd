// WorkerPool runs tasks on a fixed number of threads, first come, first served.
//
// A task is one chunk of one request, so requests take turns chunk by chunk. Thread-safe.
#ifndef SERVER_ENGINE_WORKER_POOL_H_
#define SERVER_ENGINE_WORKER_POOL_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"

namespace attribution::engine {

class WorkerPool {
 public:
  // Starts `threads` threads. Each calls `prepare_thread` once, before its first task, if there is one.
  // `on_busy(n)`, if given, is told how many threads run a task whenever that changes.
  WorkerPool(int32_t threads, std::function<void()> prepare_thread, std::function<void(int32_t)> on_busy);

  // Runs what was submitted, then ends the threads. REQUIRES: not called from a task.
  ~WorkerPool();

  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Queues a task, and what its thread does right after it when it already counts as idle: telling that the
  // task is over. Neither may throw or wait for another task. `afterwards` may be empty.
  void Submit(std::function<void()> task, std::function<void()> afterwards = nullptr);

 private:
  struct Task {
    std::function<void()> run;
    std::function<void()> afterwards;
  };

  void RunTasks();

  const std::function<void()> prepare_thread_;
  const std::function<void(int32_t)> on_busy_;

  std::mutex mutex_;
  std::condition_variable changed_;  // a task came, or the threads are to end
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  int32_t busy_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;

  std::vector<std::thread> threads_;  // last: they use all of the above
};

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_WORKER_POOL_H_
