// ChunkRun computes one chunk on a worker: one forward pass for all requests that have a part in it.
//
//   Run       on the worker: the model runs, each request's fold is made and told
//   Conclude  right after, when the worker counts as idle: memory and turn go back, then each request goes on
//
// Events, memory, cancellation and failure are each request's own. What stops the pass as a whole (the model
// threw, memory ran out) stops a request for good only when it was alone; of several, each is told to try
// again alone, for the fault may be another's.
#ifndef SERVER_ENGINE_CHUNK_RUN_H_
#define SERVER_ENGINE_CHUNK_RUN_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/admission/admission_controller.h"
#include "server/engine/chunk_fold.h"
#include "server/memory/allocation_counter.h"
#include "server/telemetry/metrics.h"

namespace attribution::engine {

// How a chunk ended for one request.
struct ChunkOutcome {
  absl::Status status;
  bool try_alone = false;       // the chunk failed, and others had a part in it
  int64_t peak_bytes = 0;       // measured; of a shared chunk, the request's share
  int64_t attention_bytes = 0;  // of those
  absl::Duration forward_time;  // of the whole pass
};

// A request's part in a chunk. Methods are called one at a time; StopReason() may come from any thread.
class ChunkMember {
 public:
  virtual ~ChunkMember() = default;

  // What is computed: all valid until AfterChunk().
  virtual const PreparedRequest& request() const = 0;
  virtual const admission::PlanRequest& plan_request() const = 0;
  virtual const admission::Chunk& chunk() const = 0;
  virtual RolloutMethod method() const = 0;
  virtual int64_t reserved_bytes() const = 0;

  // OK, or why the request must stop now.
  virtual absl::Status StopReason() const = 0;

  // A layer is complete: of `request`, which is request() with the layers of this input.
  virtual void OnLayer(const PreparedRequest& request, int32_t layer,
                       const std::vector<rollout::AttentionStatistics>& sequences) = 0;

  // Every layer is folded. What of it is to be sent is told now; `counter` counts it. Returns the bytes told.
  virtual absl::StatusOr<int64_t> OnFolded(ChunkFold& fold, memory::AllocationCounter& counter) = 0;

  // The chunk is over: gives back the memory that is not needed any more, then goes on or ends.
  virtual void SettleMemory(const ChunkOutcome& outcome) = 0;
  virtual void AfterChunk(const ChunkOutcome& outcome) = 0;
};

class ChunkRun {
 public:
  // `start` is that of all members, whose requests are for one model and, if there are several, for tokens.
  // `ledger` and `metrics` outlive the run.
  ChunkRun(std::shared_ptr<admission::Start> start, std::vector<std::shared_ptr<ChunkMember>> members,
           memory::Ledger& ledger, telemetry::Metrics& metrics);

  void Run();
  void Conclude();

 private:
  struct Part {
    std::shared_ptr<ChunkMember> member;
    ChunkOutcome outcome;
    std::optional<PreparedRequest> own;  // of a model whose layers depend on the input
    std::unique_ptr<ChunkFold> fold;     // null: the request stopped before the pass began
    int64_t own_bytes = 0;               // rollouts and what was told

    const PreparedRequest& request() const { return own.has_value() ? *own : member->request(); }
    int64_t sequences() const { return member->chunk().num_sequences; }
    bool runs() const { return outcome.status.ok(); }
  };

  int64_t LongestLength() const;
  int64_t RunningSequences() const;
  void Compute(memory::AllocationCounter& counter);
  std::vector<at::Tensor> MakeBatch() const;
  absl::Status MakeFolds(const std::vector<at::Tensor>& inputs);
  absl::Status RunModel(const std::vector<at::Tensor>& inputs);
  void TellFolds(memory::AllocationCounter& counter);
  // Ends all that still run.
  void FailAll(const absl::Status& status);
  // Teaches the model's costs what was measured, for the estimates to come.
  void Learn(const memory::AllocationCounter& counter) const;
  // Divides what was measured.
  void Share(const memory::AllocationCounter& counter);

  std::shared_ptr<admission::Start> start_;
  std::vector<Part> parts_;
  memory::Ledger& ledger_;
  telemetry::Metrics& metrics_;
  const models::ResidentModel& model_;
  at::Tensor spare_;
  int64_t limit_bytes_ = 0;
  absl::Duration forward_time_;
};

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_CHUNK_RUN_H_
