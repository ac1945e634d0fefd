// LoadQueue hands what is to be loaded and unloaded to the one thread that does it, in order.
//
// Thread-safe.
#ifndef SERVER_MODELS_LOAD_QUEUE_H_
#define SERVER_MODELS_LOAD_QUEUE_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"

namespace attribution::models {

class LoadQueue {
 public:
  struct Task {
    std::function<void()> run;
    std::function<void(const absl::Status&)> refuse;  // instead of run, if the queue ends before
  };

  // Queues a task; refuses it at once if the queue has ended.
  void Push(Task task);

  // Runs the next task. False if there is none.
  bool RunNext();

  // Waits for a task, for `patience` at most. False once the queue has ended.
  bool Wait(absl::Duration patience);

  // Refuses what waits, and what comes, with UNAVAILABLE. Idempotent.
  void End();

  bool has_ended() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace attribution::models

#endif  // SERVER_MODELS_LOAD_QUEUE_H_
