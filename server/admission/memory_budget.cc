#include "server/admission/memory_budget.h"

#include <algorithm>
#include <utility>

namespace attribution::admission {

Reservation::Reservation(Reservation&& other) noexcept
    : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  Reservation taken(std::move(other));  // first, so that moving to itself changes nothing
  Release();
  budget_ = std::exchange(taken.budget_, nullptr);
  bytes_ = std::exchange(taken.bytes_, 0);
  return *this;
}

void Reservation::Shrink(int64_t bytes) {
  const int64_t kept = std::max<int64_t>(bytes, 0);
  if (kept >= bytes_) return;
  budget_->Return(std::exchange(bytes_, kept) - kept);
}

Reservation Reservation::Split(int64_t bytes) {
  const int64_t parted = std::clamp<int64_t>(bytes, 0, bytes_);
  bytes_ -= parted;
  return {budget_, parted};
}

void Reservation::Absorb(Reservation other) {
  if (budget_ == nullptr) budget_ = other.budget_;
  bytes_ += std::exchange(other.bytes_, 0);
}

MemoryBudget::MemoryBudget(int64_t budget_bytes, std::function<void(int64_t reserved_bytes)> on_change)
    : on_change_(std::move(on_change)), budget_bytes_(budget_bytes) {}

std::optional<Reservation> MemoryBudget::TryReserve(int64_t bytes) {
  const std::scoped_lock lock(mutex_);
  if (bytes < 0 || bytes > budget_bytes_ - reserved_bytes_) return std::nullopt;
  reserved_bytes_ += bytes;
  if (on_change_) on_change_(reserved_bytes_);
  return Reservation(this, bytes);
}

int64_t MemoryBudget::budget_bytes() const {
  const std::scoped_lock lock(mutex_);
  return budget_bytes_;
}

int64_t MemoryBudget::reserved_bytes() const {
  const std::scoped_lock lock(mutex_);
  return reserved_bytes_;
}

int64_t MemoryBudget::free_bytes() const {
  const std::scoped_lock lock(mutex_);
  return std::max<int64_t>(budget_bytes_ - reserved_bytes_, 0);
}

void MemoryBudget::SetBudget(int64_t budget_bytes) {
  {
    const std::scoped_lock lock(mutex_);
    budget_bytes_ = budget_bytes;
  }
  if (release_listener_) release_listener_();
}

void MemoryBudget::SetReleaseListener(std::function<void()> listener) {
  release_listener_ = std::move(listener);
}

void MemoryBudget::Return(int64_t bytes) {
  {
    const std::scoped_lock lock(mutex_);
    reserved_bytes_ -= bytes;
    if (on_change_) on_change_(reserved_bytes_);
  }
  if (release_listener_) release_listener_();
}

}  // namespace attribution::admission
