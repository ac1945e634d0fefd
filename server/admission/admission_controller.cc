// One lock, one queue. Every entry point changes the queue under the lock, and calls `done` of what was
// decided after the lock is gone.
//
// No wake-up is lost: bytes that come back while the first request is planned for are followed by an
// Advance() of their own, which waits for the lock and plans again.
#include "server/admission/admission_controller.h"

#include "server/admission/admission_errors.h"

namespace attribution::admission {

AdmissionController::AdmissionController(MemoryBudget& budget, AdmissionLimits limits,
                                         std::function<absl::Time()> clock, AdmissionListener& listener)
    : budget_(budget), limits_(limits), clock_(std::move(clock)), listener_(listener) {
  budget_.SetReleaseListener([this] { AdvanceAndCall(); });
}

AdmissionController::~AdmissionController() {
  budget_.SetReleaseListener(nullptr);
  Calls calls;
  {
    const std::scoped_lock lock(mutex_);
    while (!queue_.empty()) {
      calls.emplace_back(Remove(queue_.begin()), ServerEnded());
      listener_.OnDecision("dropped", "cancelled");
    }
  }
  Make(std::move(calls));
}

Ticket AdmissionController::Submit(AdmissionRequest request) {
  Waiting waiting;
  waiting.smallest_bytes = SmallestPlan(request.plan).estimated_peak_bytes;
  waiting.submitted = clock_();
  waiting.timeout = waiting.submitted + limits_.queue_timeout;
  waiting.request = std::move(request);

  Calls calls;
  bool wake = false;
  Ticket ticket = 0;
  {
    const std::scoped_lock lock(mutex_);
    ticket = ++last_ticket_;
    const Key key = {-int64_t{waiting.request.priority}, ticket};
    if (std::optional<absl::StatusOr<Grant>> decision = DecideNew(key, waiting)) {
      calls.emplace_back(std::move(waiting.request.done), *std::move(decision));
    } else {
      wake = waiting.Expiry() < EarliestExpiry();
      waiting_bytes_ += waiting.request.request_bytes;
      queue_.emplace(key, std::move(waiting));
      listener_.OnQueueDepth(static_cast<int64_t>(queue_.size()));
    }
  }
  Make(std::move(calls));
  if (wake && wake_listener_) wake_listener_();
  return ticket;
}

std::optional<absl::StatusOr<Grant>> AdmissionController::DecideNew(const Key& key, const Waiting& waiting) {
  if (draining_) {
    listener_.OnDecision("refused", "draining");
    return Draining();
  }
  if (waiting.submitted >= waiting.request.deadline) {
    listener_.OnDecision("dropped", "deadline");
    return DeadlinePassed(absl::ZeroDuration());
  }
  const bool is_next = queue_.empty() || key < NextRequest()->first;
  if (is_next || waiting.smallest_bytes > budget_.budget_bytes()) {
    if (auto decision = TryGrant(waiting, "at_once")) return decision;
  }
  if (static_cast<int64_t>(queue_.size()) >= limits_.queue_limit) {
    listener_.OnDecision("refused", "queue_full");
    return QueueFull(static_cast<int64_t>(queue_.size()), limits_.queue_limit);
  }
  if (waiting.request.request_bytes > limits_.queue_bytes - waiting_bytes_) {
    listener_.OnDecision("refused", "queue_bytes_full");
    return QueueBytesFull(waiting.request.request_bytes, waiting_bytes_, limits_.queue_bytes);
  }
  return std::nullopt;
}

std::optional<absl::StatusOr<Grant>> AdmissionController::TryGrant(const Waiting& waiting,
                                                                   std::string_view reason) {
  const int64_t budget_bytes = budget_.budget_bytes();
  if (waiting.smallest_bytes > budget_bytes) {
    listener_.OnDecision("refused", "never_fits");
    return NeverFits(waiting.smallest_bytes, budget_bytes,
                     LongestSequenceThatFits(waiting.request.plan, budget_bytes));
  }
  const int64_t free_bytes = budget_.free_bytes();
  if (waiting.smallest_bytes > free_bytes) return std::nullopt;  // spares the planner its search
  std::optional<ChunkPlan> plan = PlanChunks(waiting.request.plan, free_bytes);
  if (!plan.has_value()) return std::nullopt;
  std::optional<Reservation> reservation = budget_.TryReserve(plan->estimated_peak_bytes);
  if (!reservation.has_value()) return std::nullopt;  // the budget shrank meanwhile
  listener_.OnDecision("admitted", reason);
  return Grant{*std::move(plan), *std::move(reservation), clock_() - waiting.submitted};
}

void AdmissionController::Cancel(Ticket ticket, const absl::Status& reason) {
  Calls calls;
  {
    const std::scoped_lock lock(mutex_);
    const auto waiting = std::find_if(queue_.begin(), queue_.end(),
                                      [ticket](const auto& entry) { return entry.first.second == ticket; });
    if (waiting == queue_.end()) return;
    calls.emplace_back(Remove(waiting), reason.ok() ? CancelledWhileWaiting() : reason);
    listener_.OnDecision("dropped", absl::IsDeadlineExceeded(reason) ? "deadline" : "cancelled");
    Advance(calls);
  }
  Make(std::move(calls));
}

void AdmissionController::Expire() { AdvanceAndCall(); }

void AdmissionController::AdvanceAndCall() {
  Calls calls;
  {
    const std::scoped_lock lock(mutex_);
    Advance(calls);
  }
  Make(std::move(calls));
}

void AdmissionController::Advance(Calls& calls) {
  const absl::Time now = clock_();
  for (auto next = queue_.begin(); next != queue_.end();) {
    const auto waiting = next++;
    if (now < waiting->second.Expiry()) continue;
    const bool deadline = now >= waiting->second.request.deadline;
    const absl::Duration waited = now - waiting->second.submitted;
    listener_.OnDecision("dropped", deadline ? "deadline" : "queue_timeout");
    calls.emplace_back(Remove(waiting),
                       deadline ? DeadlinePassed(waited) : QueueTimeout(waited, limits_.queue_timeout));
  }
  while (!queue_.empty()) {
    const auto next = NextRequest();
    std::optional<absl::StatusOr<Grant>> decision = TryGrant(next->second, "after_waiting");
    if (!decision.has_value()) return;
    calls.emplace_back(Remove(next), *std::move(decision));
  }
}

AdmissionDone AdmissionController::Remove(Queue::iterator waiting) {
  AdmissionDone done = std::move(waiting->second.request.done);
  waiting_bytes_ -= waiting->second.request.request_bytes;
  queue_.erase(waiting);
  listener_.OnQueueDepth(static_cast<int64_t>(queue_.size()));
  return done;
}

absl::Time AdmissionController::EarliestExpiry() const {
  absl::Time earliest = absl::InfiniteFuture();
  for (const auto& [key, waiting] : queue_) earliest = std::min(earliest, waiting.Expiry());
  return earliest;
}

absl::Time AdmissionController::NextExpiry() const {
  const std::scoped_lock lock(mutex_);
  return EarliestExpiry();
}

void AdmissionController::SetWakeListener(std::function<void()> listener) {
  wake_listener_ = std::move(listener);
}

void AdmissionController::Drain() {
  const std::scoped_lock lock(mutex_);
  draining_ = true;
}

int64_t AdmissionController::queue_depth() const {
  const std::scoped_lock lock(mutex_);
  return static_cast<int64_t>(queue_.size());
}

void AdmissionController::Make(Calls calls) {
  for (auto& [done, result] : calls) done(std::move(result));
}

}  // namespace attribution::admission
