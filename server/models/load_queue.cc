#include "server/models/load_queue.h"

#include <algorithm>
#include <utility>

#include "attribution/status_details.h"

namespace attribution::models {
namespace {

absl::Status ServerStops() {
  return WithRetryDelay(WithReason(absl::UnavailableError("The server is stopping. It loads and unloads no "
                                                          "more models; ask another, or later."),
                                   "DRAINING"),
                        absl::Seconds(1));
}

}  // namespace

void LoadQueue::Push(Task task) {
  {
    const std::lock_guard lock(mutex_);
    if (!ended_) {
      tasks_.push_back(std::move(task));
      changed_.notify_all();
      return;
    }
  }
  task.refuse(ServerStops());
}

bool LoadQueue::RunNext() {
  Task task;
  {
    const std::lock_guard lock(mutex_);
    if (tasks_.empty()) return false;
    task = std::move(tasks_.front());
    tasks_.pop_front();
  }
  task.run();
  return true;
}

bool LoadQueue::Wait(absl::Duration patience) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, absl::ToChronoNanoseconds(std::min(patience, absl::Hours(1))),
                    [this] { return ended_ || !tasks_.empty(); });
  return !ended_;
}

void LoadQueue::End() {
  std::deque<Task> refused;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    refused.swap(tasks_);
    changed_.notify_all();
  }
  for (const Task& task : refused) task.refuse(ServerStops());
}

bool LoadQueue::has_ended() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

}  // namespace attribution::models
