// AdmissionController lets a request start when its memory is reserved, and keeps a bounded queue of those
// that wait. Nobody overtakes: while the first does not fit, the others wait with it.
//
// Thread-safe. It has no thread: its owner calls Expire() at NextExpiry(), and SetWakeListener() tells when
// that became earlier. `done` of a request is called exactly once, never under the lock, on the thread that
// submits, cancels, expires or gives memory back; it may come before Submit() returns, and may call the
// controller.
#ifndef SERVER_ADMISSION_ADMISSION_CONTROLLER_H_
#define SERVER_ADMISSION_ADMISSION_CONTROLLER_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/admission/chunk_planner.h"
#include "server/admission/memory_budget.h"

namespace attribution::admission {

// Leave to run. The reservation covers plan.estimated_peak_bytes and ends with the grant.
struct Grant {
  ChunkPlan plan;
  Reservation reservation;
  absl::Duration waited;
};

// Gets a grant, or
//   FAILED_PRECONDITION NEVER_FITS (estimated_bytes, budget_bytes, max_seq_length_that_fits): the longest
//     sequence alone needs more than the whole budget;
//   RESOURCE_EXHAUSTED QUEUE_FULL, QUEUE_BYTES_FULL or QUEUE_TIMEOUT, with a retry delay: not now;
//   UNAVAILABLE DRAINING, with a retry delay;
//   DEADLINE_EXCEEDED: the deadline came first;
//   the status that Cancel() was given.
using AdmissionDone = std::function<void(absl::StatusOr<Grant>)>;

struct AdmissionRequest {
  PlanRequest plan;
  absl::Time deadline = absl::InfiniteFuture();
  int32_t priority = 0;       // larger goes first; equal ones in order of arrival
  int64_t request_bytes = 0;  // held while it waits
  AdmissionDone done;
};

struct AdmissionLimits {
  int32_t queue_limit = 256;                 // requests that may wait
  int64_t queue_bytes = int64_t{256} << 20;  // sum of their request_bytes
  absl::Duration queue_timeout = absl::Seconds(30);
};

// Hears every decision before the request's `done`. Called under the controller's lock, in order: must not
// call back.
class AdmissionListener {
 public:
  virtual ~AdmissionListener() = default;

  // admitted: at_once, after_waiting. refused: never_fits, queue_full, queue_bytes_full, draining.
  // dropped: queue_timeout, deadline, cancelled. A waiting request is refused if the budget shrank below it.
  virtual void OnDecision(std::string_view decision, std::string_view reason) = 0;

  // The number of requests that wait, after each change.
  virtual void OnQueueDepth(int64_t depth) = 0;
};

// Names a submitted request; never reused.
using Ticket = int64_t;

class AdmissionController {
 public:
  // Becomes the release listener of `budget`. `budget` and `listener` outlive the controller.
  AdmissionController(MemoryBudget& budget, AdmissionLimits limits, std::function<absl::Time()> clock,
                      AdmissionListener& listener);

  // Ends what still waits with CANCELLED. REQUIRES: no other thread uses the controller or gives memory back.
  ~AdmissionController();

  AdmissionController(const AdmissionController&) = delete;
  AdmissionController& operator=(const AdmissionController&) = delete;

  // Admits, queues or refuses. REQUIRES: done is set, plan.lengths is not empty.
  Ticket Submit(AdmissionRequest request);

  // Takes a waiting request out of the queue; its done gets `reason`, CANCELLED if that is OK. Does nothing
  // for a ticket that is unknown or decided.
  void Cancel(Ticket ticket, const absl::Status& reason);

  // Drops the requests whose deadline or queue_timeout has come.
  void Expire();

  // When Expire() has something to do; InfiniteFuture if never.
  absl::Time NextExpiry() const;

  // Calls `listener` outside the lock when NextExpiry() became earlier. Null: nobody. REQUIRES: no other
  // thread uses the controller.
  void SetWakeListener(std::function<void()> listener);

  // Refuses new requests from now on. What waits keeps its place and is still admitted.
  void Drain();

  int64_t queue_depth() const;

 private:
  struct Waiting {
    AdmissionRequest request;
    int64_t smallest_bytes = 0;  // one sequence at a time
    absl::Time submitted;
    absl::Time timeout;

    absl::Time Expiry() const { return std::min(timeout, request.deadline); }
  };
  // Orders by priority, largest first, then by ticket.
  using Key = std::pair<int64_t, Ticket>;
  using Queue = std::map<Key, Waiting>;
  // Calls of `done` that are due once the lock is free.
  using Calls = std::vector<std::pair<AdmissionDone, absl::StatusOr<Grant>>>;

  // All but AdvanceAndCall and Make REQUIRE that mutex_ is held.

  // Which request is admitted next. REQUIRES: the queue is not empty.
  Queue::iterator NextRequest() { return queue_.begin(); }

  // What becomes of a new request; nothing if it must wait and may.
  std::optional<absl::StatusOr<Grant>> DecideNew(const Key& key, const Waiting& waiting);
  // A grant if the memory is free, an error if it never will be, else nothing. `reason` is that of a grant.
  std::optional<absl::StatusOr<Grant>> TryGrant(const Waiting& waiting, std::string_view reason);
  // Drops what has expired, then admits in order until one does not fit.
  void Advance(Calls& calls);
  AdmissionDone Remove(Queue::iterator waiting);
  absl::Time EarliestExpiry() const;
  void AdvanceAndCall();
  static void Make(Calls calls);

  MemoryBudget& budget_;
  const AdmissionLimits limits_;
  const std::function<absl::Time()> clock_;
  AdmissionListener& listener_;
  std::function<void()> wake_listener_;

  mutable std::mutex mutex_;  // guards all below
  Queue queue_;
  int64_t waiting_bytes_ = 0;
  Ticket last_ticket_ = 0;
  bool draining_ = false;
};

}  // namespace attribution::admission

#endif  // SERVER_ADMISSION_ADMISSION_CONTROLLER_H_
