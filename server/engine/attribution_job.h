// AttributionJob takes one request through the house: check, admit, run its chunks, tell its events, finish.
//
//   Start ─▶ Prepare ─▶ (admission) ─▶ OnAdmission ─▶ (ChunkRun) ─▶ AfterChunk ─▶ (reader, turn) ─▶ …
//             intake      waits          any thread     a worker      the same        wait
//
// Steps of one job never overlap, each hands over to the next, and Finish comes exactly once from whichever
// step ends it. Between steps no thread belongs to the job. Cancel may be called from any thread at any time:
// it ends a job that waits at once, one that runs at its next layer.
//
// A chunk that runs out of the job's memory is done again in halves, down to one sequence. One that failed
// while others had a part in it is done again alone, whatever the fault.
#ifndef SERVER_ENGINE_ATTRIBUTION_JOB_H_
#define SERVER_ENGINE_ATTRIBUTION_JOB_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "attribution/engine.h"
#include "server/admission/admission_controller.h"
#include "server/engine/chunk_run.h"
#include "server/engine/chunk_starter.h"
#include "server/engine/job_telemetry.h"
#include "server/engine/learned_costs.h"
#include "server/engine/request_intake.h"
#include "server/engine/request_memory.h"
#include "server/engine/result_builder.h"
#include "server/engine/worker_pool.h"
#include "server/models/model_store.h"
#include "server/telemetry/metrics.h"

namespace attribution::engine {

// What every job of an engine uses. All of it outlives the jobs.
struct JobServices {
  models::ModelStore& models;
  admission::AdmissionController& admission;
  WorkerPool& intake;
  WorkerPool& workers;
  ChunkStarter& chunks;
  LearnedCosts& costs;
  telemetry::Metrics& metrics;
  RequestLimits limits;
  bool log_text;         // whether texts may be written to the log
  int64_t rows_in_work;  // query rows of attention that the threads of a worker have in work at once
  std::function<absl::Time()> now;
  std::function<void(const AttributionCall*)> on_finished;  // the last thing a job does
};

class AttributionJob final : public AttributionCall,
                             public ChunkMember,
                             public std::enable_shared_from_this<AttributionJob> {
 public:
  // `services` outlives the job.
  AttributionJob(const JobServices& services, AttributionRequest request, CallContext context,
                 std::shared_ptr<EventSink> sink);

  // Begins. REQUIRES: held by a shared_ptr; called once.
  void Start();

  void Cancel() override;

  const PreparedRequest& request() const override { return *prepared_; }
  const admission::PlanRequest& plan_request() const override { return plan_request_; }
  const admission::Chunk& chunk() const override { return grant_->plan.chunks[next_chunk_]; }
  RolloutMethod method() const override { return grant_->plan.rollout_method; }
  int64_t reserved_bytes() const override { return memory_->reserved_bytes(); }
  absl::Status StopReason() const override;
  void OnLayer(const PreparedRequest& request, int32_t layer,
               const std::vector<rollout::AttentionStatistics>& sequences) override;
  absl::StatusOr<int64_t> OnFolded(ChunkFold& fold, memory::AllocationCounter& counter) override;
  void SettleMemory(const ChunkOutcome& outcome) override;
  void AfterChunk(const ChunkOutcome& outcome) override;

 private:
  enum class NextStep { kNextChunk, kSmallerChunks, kAlone, kFinish };

  void Prepare();
  absl::Status PrepareAndAsk();
  void AskAdmission();
  void OnAdmission(absl::StatusOr<admission::Grant> grant);
  // Waits until the reader has taken what was told, then for a worker.
  void WaitForReader();
  void WaitForTurn();
  void OnTurn(absl::StatusOr<std::shared_ptr<admission::Start>> start);

  NextStep StepAfter(const ChunkOutcome& outcome) const;
  void KeepResults(const ChunkOutcome& outcome);
  void PlanSmallerChunks();
  void TellReplanned();
  SequenceGroup MeasureSequence(const ChunkFold& fold, int32_t i) const;
  AttributionResult MakeResult();
  void Finish(const absl::Status& status);

  // Tells a ticket to Cancel(), and cancels it if that came before.
  void SetTicket(admission::Ticket ticket);
  // Whether the caller, and nobody else, ends the wait for the reader.
  bool EndWaitForReader();
  void Tell(Event event, int64_t bytes = 0) {
    sink_->OnEvent(std::move(event), memory_ == nullptr ? nullptr : memory_->Hold(bytes));
  }
  Admitted MakeAdmitted() const;
  void RecordOutcome(const absl::Status& status);

  const JobServices& services_;
  AttributionRequest request_;  // until it is prepared
  RequestRecord record_;
  const CallContext context_;
  const std::shared_ptr<EventSink> sink_;
  const absl::Time arrival_;

  std::atomic<bool> cancelled_ = false;
  std::mutex mutex_;
  std::optional<admission::Ticket> ticket_ ABSL_GUARDED_BY(mutex_);
  absl::Time cancel_time_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  bool waits_for_reader_ ABSL_GUARDED_BY(mutex_) = false;

  // Used by one step after the other.
  std::optional<PreparedRequest> prepared_;
  admission::PlanRequest plan_request_;
  std::optional<admission::Grant> grant_;
  std::shared_ptr<RequestMemory> memory_;
  ResultBuilder result_;
  size_t next_chunk_ = 0;
  int32_t attempts_ = 0;     // to do sequences again
  int32_t oom_retries_ = 0;  // of those, after running out of memory
  bool runs_alone_ = false;  // shares no chunk any more
  absl::Duration waited_;
  absl::Duration forward_time_;
  int64_t peak_bytes_ = 0;
  int64_t attention_bytes_ = 0;

  // Of the current chunk, until it is known to have succeeded.
  struct LayerOfChunk {
    int32_t layer;
    int32_t site;
    rollout::AttentionStatistics statistics;
  };
  std::vector<LayerOfChunk> layers_;
  std::vector<SequenceGroup> sequences_;
  std::vector<int64_t> valid_positions_;  // of each sequence
  bool told_output_ = false;              // what cannot be taken back
};

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_ATTRIBUTION_JOB_H_
