#include "server/engine/chunk_run.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "server/engine/chunk_batch.h"
#include "server/engine/chunk_observer.h"
#include "server/engine/guarded.h"
#include "server/engine/job_telemetry.h"
#include "server/engine/layers_of_input.h"
#include "server/memory/out_of_memory.h"

namespace attribution::engine {
namespace {

int64_t BytesOfRollouts(const ChunkFold& fold, int64_t sequences) {
  int64_t bytes = 0;
  for (int64_t i = 0; i < sequences; ++i) bytes += fold.fold(i).bytes();
  return bytes;
}

// The part of `bytes` that falls to `sequences` of `all`.
int64_t PartOf(int64_t bytes, int64_t sequences, int64_t all) {
  return static_cast<int64_t>(static_cast<double>(std::max<int64_t>(bytes, 0)) *
                              static_cast<double>(sequences) / static_cast<double>(all));
}

}  // namespace

ChunkRun::ChunkRun(std::shared_ptr<admission::Start> start, std::vector<std::shared_ptr<ChunkMember>> members,
                   memory::Ledger& ledger, telemetry::Metrics& metrics)
    : start_(std::move(start)),
      ledger_(ledger),
      metrics_(metrics),
      model_(*members.front()->request().model),
      limit_bytes_(start_->common.bytes()) {
  for (std::shared_ptr<ChunkMember>& member : members) {
    limit_bytes_ += member->reserved_bytes();
    parts_.emplace_back().member = std::move(member);
  }
}

void ChunkRun::Run() {
  for (Part& part : parts_) part.outcome.status = part.member->StopReason();
  if (RunningSequences() == 0) return;
  memory::AllocationCounter counter(&ledger_);
  counter.SetLimit(limit_bytes_);
  Compute(counter);
  for (Part& part : parts_) part.outcome.forward_time = forward_time_;
}

// All that is computed is gone when it returns, but for what was told.
void ChunkRun::Compute(memory::AllocationCounter& counter) {
  const c10::InferenceMode inference;
  const memory::AllocationScope scope(counter);
  absl::Status status = Guarded([this] {
    const std::vector<at::Tensor> inputs = MakeBatch();
    absl::Status made = MakeFolds(inputs);
    return made.ok() ? RunModel(inputs) : made;
  });
  if (status.ok()) {
    TellFolds(counter);
  } else {
    FailAll(status);
  }
  Share(counter);
  Learn(counter);
  for (Part& part : parts_) part.fold.reset();
  spare_.reset();
}

int64_t ChunkRun::LongestLength() const {
  int64_t longest = 0;
  for (const Part& part : parts_) {
    if (part.runs()) longest = std::max(longest, part.member->chunk().padded_length);
  }
  return longest;
}

int64_t ChunkRun::RunningSequences() const {
  int64_t sequences = 0;
  for (const Part& part : parts_) sequences += part.runs() ? part.sequences() : 0;
  return sequences;
}

std::vector<at::Tensor> ChunkRun::MakeBatch() const {
  std::vector<const TokenSequence*> sequences;
  sequences.reserve(RunningSequences());
  for (const Part& part : parts_) {
    if (!part.runs()) continue;
    const PreparedRequest& request = part.member->request();
    const admission::Chunk& chunk = part.member->chunk();
    if (request.tensors.has_value())
      return MakeChunkBatch(*request.tensors, chunk.first_sequence, chunk.num_sequences);
    for (int32_t i = 0; i < chunk.num_sequences; ++i)
      sequences.push_back(&request.sequences[chunk.first_sequence + i]);
  }
  return MakeChunkBatch(sequences, LongestLength(), model_.runner->description().inputs,
                        model_.manifest.pad_token_id.value_or(0));
}

absl::Status ChunkRun::MakeFolds(const std::vector<at::Tensor>& inputs) {
  for (Part& part : parts_) {
    if (!part.runs()) continue;
    if (model_.runner->description().layers_depend_on_input) {
      auto own = WithLayersOfInput(part.member->request(), inputs);
      if (!own.ok()) return own.status();
      part.own = *std::move(own);
    }
    const auto layer_done = [&part](int32_t layer,
                                    const std::vector<rollout::AttentionStatistics>& sequences) {
      part.member->OnLayer(part.request(), layer, sequences);
    };
    part.fold = std::make_unique<ChunkFold>(part.request(), part.member->chunk().first_sequence,
                                            part.sequences(), layer_done, part.member->method(), spare_);
  }
  return absl::OkStatus();
}

absl::Status ChunkRun::RunModel(const std::vector<at::Tensor>& inputs) {
  ChunkObserver observer;
  for (const Part& part : parts_) {
    if (!part.runs()) continue;
    observer.Add(*part.fold, part.sequences(), [&part] { return part.member->StopReason(); });
  }
  const absl::Time start = absl::Now();
  absl::Status status = model_.runner->Run(inputs, observer);
  forward_time_ = absl::Now() - start;
  absl::Duration folding;
  for (const Part& part : parts_) folding += part.runs() ? part.fold->fold_time() : absl::ZeroDuration();
  RecordChunk(metrics_, model_, static_cast<int32_t>(RunningSequences()), forward_time_, folding);
  return status;
}

void ChunkRun::TellFolds(memory::AllocationCounter& counter) {
  for (Part& part : parts_) {
    if (!part.runs()) continue;
    part.outcome.status = Guarded([&] {
      if (absl::Status status = part.fold->Finish(); !status.ok()) return status;
      if (absl::Status status = part.member->StopReason(); !status.ok()) return status;
      part.own_bytes = part.fold->bytes();
      const absl::StatusOr<int64_t> told = part.member->OnFolded(*part.fold, counter);
      if (!told.ok()) return told.status();
      part.own_bytes = std::max(part.own_bytes, BytesOfRollouts(*part.fold, part.sequences()) + *told);
      return absl::OkStatus();
    });
  }
}

void ChunkRun::FailAll(const absl::Status& status) {
  const int64_t running = std::count_if(parts_.begin(), parts_.end(), [](const Part& p) { return p.runs(); });
  if (memory::IsOutOfMemory(status)) RecordOutOfMemory(metrics_, model_);
  for (Part& part : parts_) {
    if (!part.runs()) continue;
    // A request that was stopped meanwhile has its own reason.
    absl::Status stopped = part.member->StopReason();
    part.outcome.try_alone = stopped.ok() && running > 1;
    part.outcome.status = stopped.ok() ? status : std::move(stopped);
  }
}

void ChunkRun::Learn(const memory::AllocationCounter& counter) const {
  admission::ChunkShape shape;
  bool complete = true;
  for (const Part& part : parts_) {
    if (part.fold == nullptr) return;
    complete = complete && part.runs();
    const admission::ChunkShape own =
        admission::ShapeOf(part.member->chunk(), part.member->plan_request().lengths);
    shape.sequences += own.sequences;
    shape.padded_length = std::max(shape.padded_length, own.padded_length);
    shape.positions += own.positions;
    shape.cells += own.cells;
  }
  const ChunkMember& first = *parts_.front().member;
  const admission::PlanRequest& plan = first.plan_request();
  const bool alone = first.method() == RolloutMethod::kSelectedRows;
  const std::optional<admission::RowsAlone> rows_alone = alone ? plan.rows_alone : std::nullopt;
  if (first.request().learned == nullptr) return;
  admission::LearnedCost& learned = *first.request().learned;
  if (counter.refused_bytes() > 0) {
    learned.memory.ObserveAtLeast(plan.cost, shape, plan.output, rows_alone, counter.refused_bytes());
  } else if (complete) {
    learned.memory.Observe(plan.cost, shape, plan.output, rows_alone, counter.peak_bytes());
    learned.duration.Observe(shape.sequences, shape.padded_length, absl::ToDoubleSeconds(forward_time_));
  }
}

void ChunkRun::Share(const memory::AllocationCounter& counter) {
  int64_t sequences = 0;
  int64_t own_bytes = 0;
  int64_t rollout_bytes = 0;
  for (const Part& part : parts_) {
    if (part.fold == nullptr) continue;
    sequences += part.sequences();
    own_bytes += part.own_bytes;
    rollout_bytes += BytesOfRollouts(*part.fold, part.sequences());
  }
  for (Part& part : parts_) {
    if (part.fold == nullptr) continue;
    part.outcome.peak_bytes =
        part.own_bytes + PartOf(counter.peak_bytes() - own_bytes, part.sequences(), sequences);
    part.outcome.attention_bytes =
        BytesOfRollouts(*part.fold, part.sequences()) +
        PartOf(counter.attention_peak_bytes() - rollout_bytes, part.sequences(), sequences);
  }
}

void ChunkRun::Conclude() {
  metrics_.Set(telemetry::MetricId::kMemoryAllocatedPeakBytes, {model_.runner->description().device.str()},
               static_cast<double>(ledger_.peak_bytes()));
  for (const Part& part : parts_) part.member->SettleMemory(part.outcome);
  start_->common.Release();
  start_->turn.End();
  for (const Part& part : parts_) part.member->AfterChunk(part.outcome);
}

}  // namespace attribution::engine
