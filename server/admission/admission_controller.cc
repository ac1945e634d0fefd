// One lock, one queue. Every entry point changes the queue under the lock, and calls `done` of what was
// decided after the lock is gone.
//
// No wake-up is lost: bytes that come back, or a turn that ends, while the queue is gone through are followed
// by an Advance() of their own, which waits for the lock and goes through it again.
//
// What is reserved under the lock must not be given back under it: the budget's release listener takes it.
#include "server/admission/admission_controller.h"

#include <limits>
#include <utility>

#include "server/admission/admission_errors.h"
#include "server/admission/expected_wait.h"
#include "server/admission/shared_chunk.h"

namespace attribution::admission {
namespace {

// Predictions of time are as good as the machine is quiet. Refused is only what would be too late at twice
// the predicted speed.
constexpr double kSurely = 0.5;

absl::Duration Surely(absl::Duration expected) { return expected * kSurely; }

// The chunks that the request is likely to run in: those of its plan for a budget that nobody else uses.
int64_t ExpectedChunks(const PlanRequest& request, int64_t budget_bytes) {
  if (request.lengths.size() == 1) return 1;
  const std::optional<ChunkPlan> plan = PlanChunks(request, EstimateThatFits(budget_bytes));
  return plan.has_value() ? static_cast<int64_t>(plan->chunks.size()) : 1;
}

}  // namespace

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
      if (!queue_.begin()->second.is_admitted()) listener_.OnDecision("dropped", "cancelled");
      Drop(queue_.begin(), ServerEnded(), calls);
    }
    TellDepth();
  }
  Make(std::move(calls));
}

Ticket AdmissionController::Submit(AdmissionRequest request) {
  const ChunkPlan smallest = SmallestPlan(request.plan);
  Waiting waiting;
  waiting.smallest_bytes = ReservedBytes(smallest.estimated_peak_bytes);
  waiting.shares = !request.share_key.empty() && 2 * PaddedTokens(request.plan) <= limits_.shared_tokens;
  if (request.expected_seconds > 0) {
    waiting.turn =
        absl::Seconds(request.expected_seconds) / ExpectedChunks(request.plan, budget_.budget_bytes());
  }
  waiting.submitted = clock_();
  const absl::Time latest_start = request.deadline - Surely(absl::Seconds(request.expected_seconds));
  waiting.expiry = std::min(waiting.submitted + limits_.queue_timeout, latest_start);
  waiting.request = std::move(request);
  return Enqueue(std::move(waiting));
}

Ticket AdmissionController::Continue(TurnRequest request) {
  Waiting waiting;
  waiting.request.deadline = request.deadline;
  waiting.request.priority = request.priority;
  waiting.request.client = std::move(request.client);
  waiting.request.expected_seconds = request.expected_seconds;
  waiting.turn = absl::Seconds(request.expected_seconds) / std::max(request.chunks, 1);
  waiting.turn_done = std::move(request.done);
  waiting.submitted = clock_();
  waiting.expiry = request.deadline;
  return Enqueue(std::move(waiting));
}

// A request is put into the queue first, whether or not it must wait, so that there is one way to be started.
Ticket AdmissionController::Enqueue(Waiting waiting) {
  Calls calls;
  bool wake = false;
  Ticket ticket = 0;
  {
    const std::scoped_lock lock(mutex_);
    ticket = ++last_ticket_;
    if (const absl::Status refused = RefuseNew(waiting); !refused.ok()) {
      calls.admissions.emplace_back(std::move(waiting.request.done), refused);
    } else {
      const Key key = {-int64_t{waiting.request.priority},
                       shares_.StartTag(waiting.request.client, absl::ToDoubleSeconds(waiting.turn)), ticket};
      wake = waiting.expiry < EarliestExpiry();
      if (!waiting.is_admitted()) {
        ++waiting_requests_;
        waiting_bytes_ += waiting.request.request_bytes;
      }
      queue_.emplace(key, std::move(waiting));
      Advance(calls, ticket);
      const auto entry = queue_.find(key);
      if (entry != queue_.end()) {
        if (absl::Status refused = RefuseToQueue(key, entry->second); !refused.ok()) {
          Drop(entry, std::move(refused), calls);
        }
      }
      wake = wake && queue_.contains(key);
    }
    TellDepth();
  }
  Make(std::move(calls));
  if (wake && wake_listener_) wake_listener_();
  return ticket;
}

absl::Status AdmissionController::RefuseNew(const Waiting& waiting) {
  if (waiting.is_admitted()) return absl::OkStatus();
  if (draining_) {
    listener_.OnDecision("refused", "draining");
    return Draining();
  }
  if (waiting.submitted >= waiting.request.deadline) {
    listener_.OnDecision("dropped", "deadline");
    return DeadlinePassed(absl::ZeroDuration());
  }
  const int64_t budget_bytes = budget_.budget_bytes();
  if (waiting.smallest_bytes > budget_bytes) {
    listener_.OnDecision("refused", "never_fits");
    const PlanRequest& plan = waiting.request.plan;
    return NeverFits(SmallestPlan(plan).estimated_peak_bytes, budget_bytes,
                     LongestSequenceThatFits(plan, EstimateThatFits(budget_bytes)));
  }
  return RefuseLate(waiting, absl::ZeroDuration());
}

absl::Status AdmissionController::RefuseToQueue(const Key& key, const Waiting& waiting) const {
  if (waiting.is_admitted()) return absl::OkStatus();
  if (waiting_requests_ > limits_.queue_limit) {
    listener_.OnDecision("refused", "queue_full");
    return QueueFull(waiting_requests_ - 1, limits_.queue_limit);
  }
  const int64_t bytes = waiting.request.request_bytes;
  if (waiting_bytes_ > limits_.queue_bytes) {
    listener_.OnDecision("refused", "queue_bytes_full");
    return QueueBytesFull(bytes, waiting_bytes_ - bytes, limits_.queue_bytes);
  }
  return RefuseLate(waiting, WaitBefore(key));
}

absl::Status AdmissionController::RefuseLate(const Waiting& waiting, absl::Duration wait) const {
  const absl::Duration run = absl::Seconds(waiting.request.expected_seconds);
  if (waiting.submitted + Surely(wait + run) < waiting.request.deadline) return absl::OkStatus();
  listener_.OnDecision("refused", "deadline_too_near");
  return DeadlineTooNear(waiting.request.deadline - waiting.submitted, wait, run);
}

void AdmissionController::EndTurn(int64_t number) {
  {
    const std::scoped_lock lock(mutex_);
    running_.erase(number);
  }
  AdvanceAndCall();
}

void AdmissionController::Cancel(Ticket ticket, const absl::Status& reason) {
  Calls calls;
  {
    const std::scoped_lock lock(mutex_);
    const auto waiting = std::find_if(queue_.begin(), queue_.end(),
                                      [ticket](const auto& entry) { return entry.first.ticket == ticket; });
    if (waiting == queue_.end()) return;
    if (!waiting->second.is_admitted()) {
      listener_.OnDecision("dropped", absl::IsDeadlineExceeded(reason) ? "deadline" : "cancelled");
    }
    Drop(waiting, reason.ok() ? CancelledWhileWaiting() : reason, calls);
    Advance(calls);
    TellDepth();
  }
  Make(std::move(calls));
}

void AdmissionController::AdvanceAndCall() {
  Calls calls;
  {
    const std::scoped_lock lock(mutex_);
    Advance(calls);
    TellDepth();
  }
  Make(std::move(calls));
}

void AdmissionController::DropExpired(Calls& calls) {
  const absl::Time now = clock_();
  for (auto next = queue_.begin(); next != queue_.end();) {
    const auto entry = next++;
    const Waiting& waiting = entry->second;
    if (now < waiting.expiry) continue;
    const absl::Duration waited = now - waiting.submitted;
    const bool timeout = now >= waiting.submitted + limits_.queue_timeout;
    if (waiting.is_admitted()) {
      Drop(entry, DeadlinePassed(waited), calls);
    } else if (timeout && now < waiting.request.deadline) {
      listener_.OnDecision("dropped", "queue_timeout");
      Drop(entry, QueueTimeout(waited, limits_.queue_timeout), calls);
    } else {
      listener_.OnDecision("dropped", "deadline");
      const absl::Duration left = waiting.request.deadline - now;
      const absl::Duration run = absl::Seconds(waiting.request.expected_seconds);
      Drop(entry,
           left > absl::ZeroDuration() ? DeadlineTooNear(left, WaitBefore(entry->first), run)
                                       : DeadlinePassed(waited),
           calls);
    }
  }
}

void AdmissionController::Advance(Calls& calls, Ticket newest) {
  DropExpired(calls);
  std::vector<Key> blocked;  // who must wait for memory
  bool may_overtake = true;
  Key last = {std::numeric_limits<int64_t>::min(), 0, 0};
  while (HasFreeWorker()) {
    // Looked up anew each time: those that share a chunk leave the queue from the middle.
    const auto entry = queue_.upper_bound(last);
    if (entry == queue_.end()) return;
    last = entry->first;
    if (entry->second.is_admitted()) {
      shares_.Started(last.start_tag);
      Waiting waiting = Remove(entry);
      calls.turns.emplace_back(std::move(waiting.turn_done), MakeStart(waiting.turn));
      continue;
    }
    if (!may_overtake) continue;
    const size_t before = calls.admissions.size();
    if (!TryAdmit(entry, last.ticket == newest ? "at_once" : "after_waiting", calls)) {
      blocked.push_back(last);
      may_overtake = entry->second.overtakes < limits_.max_overtakes;
    } else if (calls.admissions[before].second.ok()) {
      for (const Key& key : blocked) {
        const auto overtaken = queue_.find(key);  // gone if it joined the chunk
        if (overtaken == queue_.end()) continue;
        may_overtake = ++overtaken->second.overtakes < limits_.max_overtakes && may_overtake;
      }
    }
  }
}

bool AdmissionController::TryAdmit(Queue::iterator waiting, std::string_view reason, Calls& calls) {
  const Waiting& candidate = waiting->second;
  const PlanRequest& request = candidate.request.plan;
  const int64_t budget_bytes = budget_.budget_bytes();
  if (candidate.smallest_bytes > budget_bytes) {
    listener_.OnDecision("refused", "never_fits");
    Drop(waiting,
         NeverFits(SmallestPlan(request).estimated_peak_bytes, budget_bytes,
                   LongestSequenceThatFits(request, EstimateThatFits(budget_bytes))),
         calls);
    return true;
  }
  const int64_t free_bytes = budget_.free_bytes();
  if (candidate.smallest_bytes > free_bytes) return false;  // spares the planner its search
  std::optional<ChunkPlan> plan = PlanChunks(request, EstimateThatFits(free_bytes));
  if (!plan.has_value()) return false;
  std::optional<Reservation> reservation = budget_.TryReserve(ReservedBytes(plan->estimated_peak_bytes));
  if (!reservation.has_value()) return false;  // the budget shrank meanwhile
  listener_.OnDecision("admitted", reason);
  shares_.Started(waiting->first.start_tag);
  Waiting admitted = Remove(waiting);
  const auto chunks = static_cast<int64_t>(plan->chunks.size());
  Grant grant{*std::move(plan), *std::move(reservation), clock_() - admitted.submitted,
              MakeStart(absl::Seconds(admitted.request.expected_seconds) / chunks)};
  const size_t place = calls.admissions.size();
  calls.admissions.emplace_back(std::move(admitted.request.done), absl::CancelledError());
  if (admitted.shares && grant.plan.chunks.size() == 1) AdmitCompany(admitted.request, grant, calls);
  calls.admissions[place].second = std::move(grant);
  return true;
}

void AdmissionController::AdmitCompany(const AdmissionRequest& leader, Grant& grant, Calls& calls) {
  SharedChunk chunk(leader.plan, grant.plan.rollout_method, limits_.shared_tokens);
  std::vector<Queue::iterator> company;
  const int64_t most_bytes = grant.reservation.bytes() + budget_.free_bytes();
  for (auto entry = queue_.begin(); entry != queue_.end(); ++entry) {
    const Waiting& waiting = entry->second;
    if (waiting.request.priority < leader.priority) break;  // it would make the others slower
    if (waiting.shares && waiting.request.share_key == leader.share_key &&
        chunk.TryAdd(waiting.request.plan, most_bytes)) {
      company.push_back(entry);
    }
  }
  if (company.empty()) return;
  const int64_t more = std::max<int64_t>(chunk.BytesToReserve() - grant.reservation.bytes(), 0);
  std::optional<Reservation> rest = budget_.TryReserve(more);
  if (!rest.has_value()) return;  // the budget shrank meanwhile
  grant.reservation.Absorb(*std::move(rest));
  grant.start->members = static_cast<int32_t>(chunk.size());
  const absl::Time now = clock_();
  for (size_t i = 1; i < chunk.size(); ++i) {
    listener_.OnDecision("admitted", "shared");
    Waiting waiting = Remove(company[i - 1]);
    ChunkPlan plan;
    plan.chunk_size = static_cast<int32_t>(waiting.request.plan.lengths.size());
    plan.chunks = CutChunks(waiting.request.plan.lengths, plan.chunk_size, /*equal_lengths_only=*/false);
    plan.rollout_method = grant.plan.rollout_method;
    plan.estimated_peak_bytes = chunk.EstimateOf(i);
    calls.admissions.emplace_back(std::move(waiting.request.done),
                                  Grant{std::move(plan), grant.reservation.Split(chunk.OwnBytes(i)),
                                        now - waiting.submitted, grant.start});
  }
  grant.plan.estimated_peak_bytes = chunk.EstimateOf(0);
  Reservation own = grant.reservation.Split(chunk.OwnBytes(0));
  grant.start->common = std::exchange(grant.reservation, std::move(own));
}

std::shared_ptr<Start> AdmissionController::MakeStart(absl::Duration expected) {
  running_[++last_turn_] = clock_() + expected;
  auto start = std::make_shared<Start>();
  start->turn = Turn([this, number = last_turn_] { EndTurn(number); });
  return start;
}

void AdmissionController::Drop(Queue::iterator entry, absl::Status status, Calls& calls) {
  Waiting waiting = Remove(entry);
  shares_.GiveBack(waiting.request.client, absl::ToDoubleSeconds(waiting.turn));
  if (waiting.is_admitted()) {
    calls.turns.emplace_back(std::move(waiting.turn_done), std::move(status));
  } else {
    calls.admissions.emplace_back(std::move(waiting.request.done), std::move(status));
  }
}

AdmissionController::Waiting AdmissionController::Remove(Queue::iterator entry) {
  Waiting waiting = std::move(entry->second);
  queue_.erase(entry);
  if (!waiting.is_admitted()) {
    --waiting_requests_;
    waiting_bytes_ -= waiting.request.request_bytes;
  }
  return waiting;
}

void AdmissionController::TellDepth() {
  if (told_depth_ == waiting_requests_) return;
  told_depth_ = waiting_requests_;
  listener_.OnQueueDepth(told_depth_);
}

bool AdmissionController::HasFreeWorker() const {
  return static_cast<int64_t>(running_.size()) < limits_.workers;
}

// Whoever is next takes the worker that is free first. Requests of several chunks are counted with the one
// that comes next: the others wait for their turn behind `key`.
absl::Duration AdmissionController::WaitBefore(const Key& key) const {
  const absl::Time now = clock_();
  std::vector<absl::Duration> busy_for;
  busy_for.reserve(running_.size());
  for (const auto& [number, end] : running_) busy_for.push_back(end - now);
  std::vector<absl::Duration> ahead;
  for (auto entry = queue_.begin(); entry != queue_.end() && entry->first < key; ++entry)
    ahead.push_back(entry->second.turn);
  return ExpectedWait(busy_for, ahead, limits_.workers);
}

AdmissionController::Outlook AdmissionController::OutlookOf(const PlanRequest& plan, int32_t priority) const {
  const int64_t smallest_bytes = ReservedBytes(SmallestPlan(plan).estimated_peak_bytes);
  const std::scoped_lock lock(mutex_);
  const Key key = {-int64_t{priority}, std::numeric_limits<double>::infinity(), 0};
  const bool is_passable = std::all_of(queue_.begin(), queue_.upper_bound(key), [this](const auto& ahead) {
    return ahead.second.overtakes < limits_.max_overtakes;
  });
  if (!draining_ && HasFreeWorker() && is_passable && smallest_bytes <= budget_.free_bytes()) {
    return {true, absl::ZeroDuration()};
  }
  return {false, WaitBefore(key)};
}

absl::Time AdmissionController::EarliestExpiry() const {
  absl::Time earliest = absl::InfiniteFuture();
  for (const auto& [key, waiting] : queue_) earliest = std::min(earliest, waiting.expiry);
  return earliest;
}

absl::Time AdmissionController::NextExpiry() const {
  const std::scoped_lock lock(mutex_);
  return EarliestExpiry();
}

void AdmissionController::Make(Calls calls) {
  for (auto& [done, result] : calls.turns) done(std::move(result));
  for (auto& [done, result] : calls.admissions) done(std::move(result));
}

}  // namespace attribution::admission
