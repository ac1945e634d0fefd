#include "server/engine/request_memory.h"

#include <utility>

namespace attribution::engine {

int64_t RequestMemory::reserved_bytes() const {
  const std::lock_guard lock(mutex_);
  return reservation_.bytes();
}

EventMemory RequestMemory::Hold(int64_t bytes) {
  if (bytes <= 0) return nullptr;
  {
    const std::lock_guard lock(mutex_);
    unsent_bytes_ += bytes;
  }
  // Points to the request's memory, and tells it when it goes.
  return {this, [self = shared_from_this(), bytes](const void*) { self->Sent(bytes); }};
}

void RequestMemory::WhenSent(std::function<void()> resume) {
  {
    const std::lock_guard lock(mutex_);
    if (unsent_bytes_ > 0) {
      resume_ = std::move(resume);
      return;
    }
  }
  resume();
}

void RequestMemory::EndComputing() {
  admission::Reservation surplus;
  const std::lock_guard lock(mutex_);
  computing_ = false;
  surplus = Surplus();
}

void RequestMemory::Sent(int64_t bytes) {
  admission::Reservation surplus;
  std::function<void()> resume;
  {
    const std::lock_guard lock(mutex_);
    unsent_bytes_ -= bytes;
    if (!computing_) surplus = Surplus();
    if (unsent_bytes_ == 0) resume = std::exchange(resume_, nullptr);
  }
  surplus.Release();
  if (resume) resume();
}

admission::Reservation RequestMemory::Surplus() {
  return reservation_.Split(reservation_.bytes() - unsent_bytes_);
}

}  // namespace attribution::engine
