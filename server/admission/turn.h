// A Turn is leave to use one worker for one chunk.
//
// Move-only; one thread at a time.
#ifndef SERVER_ADMISSION_TURN_H_
#define SERVER_ADMISSION_TURN_H_

#include <cstdint>
#include <functional>
#include <utility>

#include "server/admission/memory_budget.h"

namespace attribution::admission {

// What was moved from, or ended, is no turn.
class Turn {
 public:
  Turn() = default;
  // `end` gives the worker back.
  explicit Turn(std::function<void()> end) : end_(std::move(end)) {}
  Turn(Turn&& other) noexcept : end_(std::exchange(other.end_, nullptr)) {}
  Turn& operator=(Turn&& other) noexcept {
    Turn taken(std::move(other));  // first, so that moving to itself changes nothing
    End();
    end_ = std::exchange(taken.end_, nullptr);
    return *this;
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() { End(); }

  // Gives the worker back: whoever is next is started on this thread.
  void End() {
    if (const std::function<void()> end = std::exchange(end_, nullptr)) end();
  }

 private:
  std::function<void()> end_;
};

// The start of one chunk, which all requests that have a part in it hold together.
struct Start {
  Turn turn;
  Reservation common;   // of a chunk of several requests: what none of them holds by itself
  int32_t members = 1;  // requests that have a part
};

}  // namespace attribution::admission

#endif  // SERVER_ADMISSION_TURN_H_
