// WorkerPool runs tasks on a fixed number of threads, first come, first served.
//
// A task is one chunk of one request, so requests take turns chunk by chunk. Thread-safe.
#ifndef SERVER_ENGINE_WORKER_POOL_H_
#define SERVER_ENGINE_WORKER_POOL_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <semaphore>
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

  // Queues a task. It must not throw and must not wait for another task.
  void Submit(std::function<void()> task);

 private:
  void RunTasks();

  const std::function<void()> prepare_thread_;
  const std::function<void(int32_t)> on_busy_;

  std::counting_semaphore<> due_{0};  // one for each task, and one for each thread when it is to end
  std::mutex mutex_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  int32_t busy_ ABSL_GUARDED_BY(mutex_) = 0;

  std::vector<std::thread> threads_;  // last: they use all of the above
};

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_WORKER_POOL_H_
