// AdmissionController decides which request runs next: one queue for the memory of a device and its workers.
//
// A request is admitted when a worker is free and its memory can be reserved; until then it waits. A request
// of several chunks comes back to the queue for a turn of a worker before each of them, and keeps its memory
// meanwhile. Small requests of like priority that wait for the same thing are admitted together and share a
// chunk. Order: larger priority first; equal ones so that clients get equal shares of the workers' time, and
// those of one client as they came. One that waits for memory lets smaller ones
// that fit go before it a bounded number of times; those that need a turn alone, or join a chunk that starts
// anyway, always pass.
//
// Thread-safe. It has no thread: its owner calls Expire() at NextExpiry(), and SetWakeListener() tells when
// that became earlier. `done` of a request is called exactly once, never under the lock, on the thread that
// submits, cancels, expires, ends a turn or gives memory back; it may come before Submit() returns, and may
// call the controller.
#ifndef SERVER_ADMISSION_ADMISSION_CONTROLLER_H_
#define SERVER_ADMISSION_ADMISSION_CONTROLLER_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/admission/chunk_planner.h"
#include "server/admission/fair_share.h"
#include "server/admission/memory_budget.h"
#include "server/admission/turn.h"

namespace attribution::admission {

// Leave to run. The reservation covers ReservedBytes(plan.estimated_peak_bytes); that of a request that
// shares its chunk covers its own share, of which a part is in `start->common`.
struct Grant {
  ChunkPlan plan;  // of a request that shares its chunk: the estimate of its share
  Reservation reservation;
  absl::Duration waited;
  std::shared_ptr<Start> start;  // of the first chunk
};

// Gets a grant, or
//   FAILED_PRECONDITION NEVER_FITS (estimated_bytes, budget_bytes, max_seq_length_that_fits): the longest
//     sequence alone needs more than the whole budget;
//   RESOURCE_EXHAUSTED QUEUE_FULL, QUEUE_BYTES_FULL or QUEUE_TIMEOUT, with a retry delay: not now;
//   UNAVAILABLE DRAINING, with a retry delay;
//   DEADLINE_EXCEEDED: the deadline came first, or is so near that the request cannot finish;
//   the status that Cancel() was given.
using AdmissionDone = std::function<void(absl::StatusOr<Grant>)>;

struct AdmissionRequest {
  PlanRequest plan;
  absl::Time deadline = absl::InfiniteFuture();
  int32_t priority = 0;         // larger goes first; clients share evenly among equal ones
  std::string client;           // who asks
  int64_t request_bytes = 0;    // held while it waits
  double expected_seconds = 0;  // from its start to its end; 0: unknown
  // Requests of one key that are a single chunk may run together. They differ in nothing but their sequences
  // and what is sent of them. Empty: it runs alone.
  std::string share_key;
  AdmissionDone done;
};

// Gets the start of the next chunk, DEADLINE_EXCEEDED, or the status that Cancel() was given.
using TurnDone = std::function<void(absl::StatusOr<std::shared_ptr<Start>>)>;

// An admitted request that needs a worker again.
struct TurnRequest {
  absl::Time deadline = absl::InfiniteFuture();
  int32_t priority = 0;
  std::string client;
  double expected_seconds = 0;  // what is left of it, in
  int32_t chunks = 1;           // this many chunks
  TurnDone done;
};

struct AdmissionLimits {
  int32_t queue_limit = 256;                 // requests that may wait to be admitted
  int64_t queue_bytes = int64_t{256} << 20;  // sum of their request_bytes
  absl::Duration queue_timeout = absl::Seconds(30);
  int32_t workers = 1;           // chunks that run at once; at least 1
  int32_t max_overtakes = 16;    // requests that may go before one that waits for memory
  int64_t shared_tokens = 2048;  // most padded positions of a chunk of several requests; 0: none are shared
};

// Hears every decision before the request's `done`. Called under the controller's lock, in order: must not
// call back.
class AdmissionListener {
 public:
  virtual ~AdmissionListener() = default;

  // admitted: at_once, after_waiting, shared (it joined another's chunk). refused: never_fits, queue_full,
  // queue_bytes_full, draining, deadline_too_near. dropped: queue_timeout, deadline, cancelled. A waiting
  // request is refused if the budget shrank below it.
  virtual void OnDecision(std::string_view decision, std::string_view reason) = 0;

  // The number of requests that wait to be admitted, after each change.
  virtual void OnQueueDepth(int64_t depth) = 0;
};

// Names what was submitted; never reused.
using Ticket = int64_t;

class AdmissionController {
 public:
  // Becomes the release listener of `budget`. `budget` and `listener` outlive the controller, which outlives
  // every turn.
  AdmissionController(MemoryBudget& budget, AdmissionLimits limits, std::function<absl::Time()> clock,
                      AdmissionListener& listener);

  // Ends what still waits with CANCELLED. REQUIRES: no other thread uses the controller or gives memory back.
  ~AdmissionController();

  AdmissionController(const AdmissionController&) = delete;
  AdmissionController& operator=(const AdmissionController&) = delete;

  // Admits, queues or refuses. REQUIRES: done is set, plan.lengths is not empty.
  Ticket Submit(AdmissionRequest request);

  // Waits for a worker. Not bounded by the queue's limits: the request was admitted. REQUIRES: done is set.
  Ticket Continue(TurnRequest request);

  // Takes what waits out of the queue; its done gets `reason`, CANCELLED if that is OK. Does nothing for a
  // ticket that is unknown or decided.
  void Cancel(Ticket ticket, const absl::Status& reason);

  // Drops the requests whose time has come: queue_timeout, or the last moment from which they could finish
  // before their deadline.
  void Expire() { AdvanceAndCall(); }

  // When Expire() has something to do; InfiniteFuture if never.
  absl::Time NextExpiry() const;

  // Calls `listener` outside the lock when NextExpiry() became earlier. Null: nobody. REQUIRES: no other
  // thread uses the controller.
  void SetWakeListener(std::function<void()> listener) { wake_listener_ = std::move(listener); }

  // Refuses new requests from now on. What waits keeps its place and is still admitted.
  void Drain() {
    const std::scoped_lock lock(mutex_);
    draining_ = true;
  }

  int64_t queue_depth() const {
    const std::scoped_lock lock(mutex_);
    return waiting_requests_;
  }

  // Whether a request of this priority and smallest plan would start at once, and how long it may have to
  // wait, by what is expected of those before it.
  struct Outlook {
    bool starts_now = false;
    absl::Duration wait;
  };
  Outlook OutlookOf(const PlanRequest& plan, int32_t priority) const;

 private:
  // A request that waits to be admitted, or an admitted one that waits for a turn.
  struct Waiting {
    AdmissionRequest request;    // of an admitted one only deadline, priority and expected_seconds
    TurnDone turn_done;          // set if it waits for a turn
    absl::Duration turn;         // how long it is expected to have a worker at once
    int64_t smallest_bytes = 0;  // to reserve for one sequence at a time
    bool shares = false;         // whether it may run with others
    int32_t overtakes = 0;       // of others, since it began to wait for memory
    absl::Time submitted;
    absl::Time expiry;

    bool is_admitted() const { return turn_done != nullptr; }
  };
  // Place in the queue: by priority, largest first, then by the start tag of fair queueing, then by ticket.
  struct Key {
    int64_t minus_priority = 0;
    double start_tag = 0;
    Ticket ticket = 0;

    friend auto operator<=>(const Key&, const Key&) = default;
  };
  using Queue = std::map<Key, Waiting>;
  // Calls of `done` that are due once the lock is free.
  struct Calls {
    std::vector<std::pair<AdmissionDone, absl::StatusOr<Grant>>> admissions;
    std::vector<std::pair<TurnDone, absl::StatusOr<std::shared_ptr<Start>>>> turns;
  };

  Ticket Enqueue(Waiting waiting);
  void EndTurn(int64_t number);
  void AdvanceAndCall();
  static void Make(Calls calls);

  // Why a new request is refused even if all is free: it never fits, or cannot finish in time. OK if it is
  // not.
  absl::Status RefuseNew(const Waiting& waiting) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Why what was just put into the queue may not wait there: it has no room, or the wait is too long. OK if
  // it may.
  absl::Status RefuseToQueue(const Key& key, const Waiting& waiting) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Refuses what cannot finish before its deadline after `wait`.
  absl::Status RefuseLate(const Waiting& waiting, absl::Duration wait) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Drops what has expired, then starts in order what fits while workers are free. Those that are admitted
  // now and have the ticket `newest` did not wait.
  void Advance(Calls& calls, Ticket newest = 0) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropExpired(Calls& calls) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Admits a request, or refuses it if it never fits; false if its memory is not free.
  bool TryAdmit(Queue::iterator waiting, std::string_view reason, Calls& calls)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Lets others that wait, and have no smaller priority, run in the chunk of `grant`, as far as their memory
  // is free, and takes them out of the queue.
  void AdmitCompany(const AdmissionRequest& leader, Grant& grant, Calls& calls)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::shared_ptr<Start> MakeStart(absl::Duration expected) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends what waits with a status.
  void Drop(Queue::iterator waiting, absl::Status status, Calls& calls) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Waiting Remove(Queue::iterator waiting) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TellDepth() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Time EarliestExpiry() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasFreeWorker() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // How long until a worker is free for `key`, if those before it are as fast as expected and memory is not
  // short.
  absl::Duration WaitBefore(const Key& key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  MemoryBudget& budget_;
  const AdmissionLimits limits_;
  const std::function<absl::Time()> clock_;
  AdmissionListener& listener_;
  std::function<void()> wake_listener_;

  mutable std::mutex mutex_;
  FairShare shares_ ABSL_GUARDED_BY(mutex_);
  Queue queue_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, absl::Time> running_ ABSL_GUARDED_BY(mutex_);  // expected end, by number of the turn
  int64_t waiting_requests_ ABSL_GUARDED_BY(mutex_) = 0;           // that are not admitted
  int64_t waiting_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t told_depth_ ABSL_GUARDED_BY(mutex_) = 0;
  Ticket last_ticket_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t last_turn_ ABSL_GUARDED_BY(mutex_) = 0;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace attribution::admission

#endif  // SERVER_ADMISSION_ADMISSION_CONTROLLER_H_
