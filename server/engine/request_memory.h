// RequestMemory holds what an admitted request has reserved, together with the events that it has told: it
// ends when the request has been computed and the last of them is sent.
//
// Thread-safe. Held by shared_ptr.
#ifndef SERVER_ENGINE_REQUEST_MEMORY_H_
#define SERVER_ENGINE_REQUEST_MEMORY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "attribution/engine.h"
#include "server/admission/memory_budget.h"

namespace attribution::engine {

class RequestMemory : public std::enable_shared_from_this<RequestMemory> {
 public:
  explicit RequestMemory(admission::Reservation reservation) : reservation_(std::move(reservation)) {}

  // What the request may use now.
  int64_t reserved_bytes() const;

  // Counts `bytes` of an event as unsent until the last copy of what is returned is gone. Null for 0.
  EventMemory Hold(int64_t bytes);

  // Calls `resume` once, now or from whoever lets go of the last event, when nothing is unsent.
  void WhenSent(std::function<void()> resume);

  // Gives back all but what is unsent, and from now on what is sent.
  void EndComputing();

 private:
  void Sent(int64_t bytes);
  // Parts what is not needed any more, to be given back outside the lock.
  admission::Reservation Surplus() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable std::mutex mutex_;
  admission::Reservation reservation_ ABSL_GUARDED_BY(mutex_);
  int64_t unsent_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool computing_ ABSL_GUARDED_BY(mutex_) = true;
  std::function<void()> resume_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_REQUEST_MEMORY_H_
