// MemoryBudget hands out the bytes that requests may use on one device: reserve all that is asked for, or
// nothing.
//
// Thread-safe. Counts promises, not memory. A budget outlives its reservations.
#ifndef SERVER_ADMISSION_MEMORY_BUDGET_H_
#define SERVER_ADMISSION_MEMORY_BUDGET_H_

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>

namespace attribution::admission {

class MemoryBudget;

// Bytes that belong to one request until they are given back. Move-only; one thread at a time. What was moved
// from, or released, holds nothing.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  ~Reservation() { Release(); }

  int64_t bytes() const { return bytes_; }

  // Gives back what is above `bytes`. Never grows: nothing happens if less is held; negative counts as 0.
  void Shrink(int64_t bytes);

  // Parts from `bytes` of it, at most all, which become a reservation of their own; and takes over what
  // another of the same budget holds. The budget hears of neither.
  Reservation Split(int64_t bytes);
  void Absorb(Reservation other);

  // Gives everything back. When this returns, the budget's `on_change` has been told.
  void Release() { Shrink(0); }

 private:
  friend class MemoryBudget;
  Reservation(MemoryBudget* budget, int64_t bytes) : budget_(budget), bytes_(bytes) {}

  MemoryBudget* budget_ = nullptr;
  int64_t bytes_ = 0;
};

class MemoryBudget {
 public:
  // `on_change` gets the reserved bytes after each change, in order, under the lock: it must not call back.
  // May be null.
  MemoryBudget(int64_t budget_bytes, std::function<void(int64_t reserved_bytes)> on_change);

  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  // Reserves `bytes` if they are free now, else changes nothing and returns nothing, as for negative `bytes`.
  std::optional<Reservation> TryReserve(int64_t bytes);

  int64_t budget_bytes() const;
  int64_t reserved_bytes() const;

  // What TryReserve would give; 0 when the budget was set below what is reserved.
  int64_t free_bytes() const;

  // Changes the budget. Reservations stay as they are; a smaller budget counts when they end.
  void SetBudget(int64_t budget_bytes);

  // Calls `listener` outside the lock after bytes were given back or the budget was set, on that thread.
  // Null: nobody. REQUIRES: no other thread uses the budget.
  void SetReleaseListener(std::function<void()> listener);

 private:
  friend class Reservation;
  void Return(int64_t bytes);

  const std::function<void(int64_t)> on_change_;
  std::function<void()> release_listener_;
  mutable std::mutex mutex_;  // guards all below
  int64_t budget_bytes_;
  int64_t reserved_bytes_ = 0;
};

}  // namespace attribution::admission

#endif  // SERVER_ADMISSION_MEMORY_BUDGET_H_
