// AttributionJob takes one request through the house: check, admit, run its chunks, tell its events, finish.
//
//   Start ─▶ Prepare ─▶ (admission) ─▶ OnAdmission ─▶ RunChunk ─▶ AfterChunk ─▶ RunChunk ─▶ … ─▶ Finish
//             intake      waits           any thread     a worker, which AfterChunk finds idle again
//
// Steps of one job never overlap, each hands over to the next, and Finish comes exactly once from whichever
// step ends it. Between steps no thread belongs to the job. Cancel may be called from any thread at any time.
#ifndef SERVER_ENGINE_ATTRIBUTION_JOB_H_
#define SERVER_ENGINE_ATTRIBUTION_JOB_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "attribution/engine.h"
#include "server/admission/admission_controller.h"
#include "server/engine/chunk_fold.h"
#include "server/engine/request_intake.h"
#include "server/engine/result_builder.h"
#include "server/engine/worker_pool.h"
#include "server/memory/allocation_counter.h"
#include "server/models/model_store.h"
#include "server/telemetry/metrics.h"

namespace attribution::engine {

// What every job of an engine uses. All of it outlives the jobs.
struct JobServices {
  const models::ModelStore& models;
  admission::AdmissionController& admission;
  WorkerPool& intake;
  WorkerPool& workers;
  telemetry::Metrics& metrics;
  RequestLimits limits;
  int64_t rows_in_work;  // query rows of attention that the threads of a worker have in work at once
  std::function<absl::Time()> now;
  std::function<void(const AttributionCall*)> on_finished;  // the last thing a job does
};

class AttributionJob final : public AttributionCall, public std::enable_shared_from_this<AttributionJob> {
 public:
  // `services` outlives the job.
  AttributionJob(const JobServices& services, AttributionRequest request, CallContext context,
                 std::shared_ptr<EventSink> sink);

  // Begins. REQUIRES: held by a shared_ptr; called once.
  void Start();

  void Cancel() override;

 private:
  void Prepare();
  absl::Status AskAdmission();
  void OnAdmission(absl::StatusOr<admission::Grant> grant);
  void QueueChunk();
  void RunChunk();
  void AfterChunk();
  absl::Status ComputeChunk(const admission::Chunk& chunk);
  // Runs the model on `inputs` and folds what it shows; `request` is prepared_, or its layers on this input.
  absl::Status FoldChunk(const PreparedRequest& request, const admission::Chunk& chunk,
                         const std::vector<at::Tensor>& inputs);
  absl::Status TellChunk(const admission::Chunk& chunk, ChunkFold& fold);
  AttributionResult MakeResult();
  void Finish(const absl::Status& status);

  // Runs one step of the job. What it throws becomes INTERNAL, running out of memory RESOURCE_EXHAUSTED.
  static absl::Status Guarded(const std::function<absl::Status()>& step);
  // OK, or why the job must stop now: cancelled, or past its deadline.
  absl::Status StopReason() const;
  void Tell(Event event) { sink_->OnEvent(std::move(event), nullptr); }
  Admitted MakeAdmitted() const;
  void RecordOutcome(const absl::Status& status);

  const JobServices& services_;
  AttributionRequest request_;  // until it is prepared
  const std::string model_name_;
  const CallContext context_;
  const std::shared_ptr<EventSink> sink_;
  const absl::Time arrival_;

  std::atomic<bool> cancelled_ = false;
  std::mutex mutex_;
  std::optional<admission::Ticket> ticket_ ABSL_GUARDED_BY(mutex_);
  absl::Time cancel_time_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();

  // Used by one step after the other.
  std::optional<PreparedRequest> prepared_;
  std::optional<admission::Grant> grant_;
  std::optional<ResultBuilder> result_;
  size_t next_chunk_ = 0;
  absl::Status chunk_status_;  // of the chunk that ran last
  memory::AllocationCounter counter_;
  int64_t unsent_bytes_ = 0;  // of the current chunk
  absl::Duration forward_time_;
};

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_ATTRIBUTION_JOB_H_
