// RolloutJob folds attention that the caller sends: check, admit, take piece after piece, tell, finish.
//
//   Start ─▶ Prepare ─▶ (admission) ─▶ OnAdmission ─▶ ( idle ◀─▶ Append: a worker folds the piece ) ─▶ End ─▶
//   Finish
//            intake       waits          any thread                                                 a worker
//
// Between pieces the job holds memory and no worker. Steps never overlap, and Finish comes exactly once: from
// the step that ends the job, or from Cancel if the job is idle. Append and End are called by one thread at a
// time, Cancel by any.
#ifndef SERVER_ENGINE_ROLLOUT_JOB_H_
#define SERVER_ENGINE_ROLLOUT_JOB_H_

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "attribution/engine.h"
#include "server/admission/admission_controller.h"
#include "server/engine/job_telemetry.h"
#include "server/engine/request_intake.h"
#include "server/engine/request_memory.h"
#include "server/engine/result_builder.h"
#include "server/engine/rollout_intake.h"
#include "server/memory/allocation_counter.h"
#include "server/rollout/attention_stream.h"
#include "server/telemetry/metrics.h"

namespace attribution::engine {

// What a rollout needs of its engine, which outlives it. Thread-safe.
class RolloutHost {
 public:
  virtual ~RolloutHost() = default;

  // Memory that was reserved.
  struct Lease {
    admission::Reservation reservation;
    absl::Duration waited;
  };

  // Runs `step` soon, on a thread that checks requests.
  virtual void Check(std::function<void()> step) = 0;

  // Asks for the memory of a request with this estimate. `done` gets it once, from any thread, or why not:
  // the errors of AdmissionDone, where NEVER_FITS may name any length.
  virtual admission::Ticket Admit(int64_t estimated_bytes, const CallContext& context,
                                  std::function<void(absl::StatusOr<Lease>)> done) = 0;

  // Runs `step` on a worker when its turn has come, then `afterwards` with OK when the worker is free again.
  // If it has no turn, `afterwards` alone is called, with the reason.
  virtual admission::Ticket RunOnWorker(const CallContext& context, std::function<void()> step,
                                        std::function<void(const absl::Status&)> afterwards) = 0;

  // Takes what waits under `ticket` out of its queue: it gets `reason`. Does nothing if it waits no more.
  virtual void CancelTicket(admission::Ticket ticket, const absl::Status& reason) = 0;

  virtual absl::Time Now() const = 0;
  virtual c10::Device device() const = 0;
  virtual const RequestLimits& limits() const = 0;
  virtual telemetry::Metrics& metrics() = 0;
  virtual memory::Ledger* ledger() = 0;  // of what requests allocate together; may be null

  // The last thing that a job does.
  virtual void OnFinished(const AttributionCall* job) = 0;
};

class RolloutJob final : public RolloutCall, public std::enable_shared_from_this<RolloutJob> {
 public:
  // `host` outlives the job.
  RolloutJob(RolloutHost& host, RolloutRequest request, CallContext context, std::shared_ptr<EventSink> sink);

  // Begins. REQUIRES: held by a shared_ptr; called once.
  void Start();

  void Append(int32_t layer, int64_t offset, std::string data, std::function<void()> taken) override;
  void End() override;
  void Cancel() override;

 private:
  enum class State { kAdmitting, kIdle, kBusy, kFinished };

  void Prepare();
  absl::Status AskAdmission();
  void OnAdmission(absl::StatusOr<RolloutHost::Lease> lease);
  // Begins `work` if the job is idle, or as soon as it first is; calls `refused` if it has ended.
  void Begin(std::function<void()> work, const std::function<void()>& refused);
  // Lets the job wait for the next piece, or ends it if it was cancelled meanwhile.
  void Rest();
  // Runs `step` on a worker, then `afterwards` with what it returned, or with why it could not run.
  void OnWorker(std::function<absl::Status()> step, std::function<void(const absl::Status&)> afterwards);
  // Remembers what the job waits for, so that Cancel() can take it out.
  void Await(admission::Ticket ticket);

  absl::Status MakeStream();
  absl::Status Fold(int32_t layer, int64_t offset, const std::string& data);
  void TellLayers(int32_t from);
  absl::Status Conclude();
  absl::Status TellOutput();
  Admitted MakeAdmitted() const;
  AttributionResult MakeResult();
  void Finish(const absl::Status& status);

  // OK, or why the job must stop now.
  absl::Status StopReason() const;
  void Tell(Event event, int64_t bytes = 0) {
    sink_->OnEvent(std::move(event), memory_ == nullptr ? nullptr : memory_->Hold(bytes));
  }
  absl::Status WithOwnLength(const absl::Status& never_fits) const;

  RolloutHost& host_;
  RolloutRequest request_;  // until it is prepared
  const CallContext context_;
  const std::shared_ptr<EventSink> sink_;
  const absl::Time arrival_;
  RequestRecord record_;

  mutable std::mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_) = State::kAdmitting;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> pending_ ABSL_GUARDED_BY(mutex_);  // came while Admitted was told
  absl::Time cancel_time_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  std::optional<admission::Ticket> ticket_ ABSL_GUARDED_BY(mutex_);

  // Used by one step after the other.
  std::optional<PreparedRollout> prepared_;
  int64_t estimated_bytes_ = 0;
  std::shared_ptr<RequestMemory> memory_;
  absl::Duration waited_;
  memory::AllocationCounter counter_;
  std::optional<rollout::AttentionStream> stream_;
  ResultBuilder result_;
  absl::Duration fold_time_;
};

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_ROLLOUT_JOB_H_
