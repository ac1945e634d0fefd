#include "server/engine/attribution_job.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/chunk_output.h"
#include "server/engine/device.h"
#include "server/engine/guarded.h"
#include "server/engine/plan_request.h"
#include "server/engine/share_key.h"
#include "server/memory/out_of_memory.h"

namespace attribution::engine {
namespace {

// Bytes that a waiting request holds, for the bound of the queue.
int64_t BytesOf(const PreparedRequest& request) {
  size_t bytes = request.tensors.has_value() ? request.tensors->bytes : 0;
  for (const TokenSequence& sequence : request.sequences) {
    bytes += sequence.input_ids.size() * sizeof(int64_t) + sequence.attention_mask.size() * sizeof(int32_t) +
             sequence.token_type_ids.size() * sizeof(int64_t);
  }
  return static_cast<int64_t>(bytes);
}

}  // namespace

AttributionJob::AttributionJob(const JobServices& services, AttributionRequest request, CallContext context,
                               std::shared_ptr<EventSink> sink)
    : services_(services),
      request_(std::move(request)),
      context_(std::move(context)),
      sink_(std::move(sink)),
      arrival_(services.now()) {
  record_.model = request_.model;
}

void AttributionJob::Start() {
  services_.intake.Submit([self = shared_from_this()] { self->Prepare(); });
}

void AttributionJob::Prepare() {
  const absl::Status status = Guarded([this] { return PrepareAndAsk(); });
  if (!status.ok()) Finish(status);
}

absl::Status AttributionJob::PrepareAndAsk() {
  if (absl::Status status = StopReason(); !status.ok()) return status;
  auto model = services_.models.Find(request_.model, request_.model_version);
  if (!model.ok()) return model.status();
  if (services_.log_text) record_.text = TextForLog(request_.input);
  auto prepared = PrepareRequest(std::move(request_), services_.limits, *std::move(model));
  if (!prepared.ok()) return prepared.status();
  prepared_ = *std::move(prepared);
  prepared_->learned = services_.costs.Of(prepared_->model);
  DescribeRequest(*prepared_, record_);
  AskAdmission();
  return absl::OkStatus();
}

void AttributionJob::AskAdmission() {
  plan_request_ = MakePlanRequest(*prepared_, services_.rows_in_work);
  admission::AdmissionRequest request;
  request.plan = plan_request_;
  request.deadline = context_.deadline;
  request.priority = context_.priority;
  request.client = context_.client;
  request.request_bytes = BytesOf(*prepared_);
  request.expected_seconds = prepared_->learned->duration.RequestSeconds(plan_request_.lengths);
  if (!runs_alone_) request.share_key = ShareKeyOf(*prepared_);
  request.done = [self = shared_from_this()](absl::StatusOr<admission::Grant> grant) {
    self->OnAdmission(std::move(grant));
  };
  SetTicket(services_.admission.Submit(std::move(request)));
}

void AttributionJob::OnAdmission(absl::StatusOr<admission::Grant> grant) {
  if (!grant.ok()) return Finish(grant.status());
  grant_ = *std::move(grant);
  waited_ += grant_->waited;
  memory_ = std::make_shared<RequestMemory>(std::move(grant_->reservation));
  const std::shared_ptr<admission::Start> start = std::move(grant_->start);
  const absl::Status told = Guarded([this] {
    if (attempts_ > 0) {
      TellReplanned();
    } else {
      Tell(MakeAdmitted());
      RecordAdmission(services_.metrics, *grant_, services_.now() - arrival_);
    }
    return absl::OkStatus();
  });
  // A member of a chunk that others share takes its place in it even if it can go on no more.
  if (!told.ok()) Cancel();
  services_.chunks.Join(start, shared_from_this());
}

void AttributionJob::OnLayer(const PreparedRequest& request, int32_t layer,
                             const std::vector<rollout::AttentionStatistics>& sequences) {
  if (!request.output.layer_metrics) return;
  rollout::AttentionStatistics merged;
  for (const rollout::AttentionStatistics& statistics : sequences) merged.Merge(statistics);
  const AttentionSite& site = request.model->runner->description().sites[request.layers.SiteOf(layer)];
  layers_.push_back({layer, site.index, merged});
  Tell(MakeLayerMetrics(site, layer, static_cast<int32_t>(next_chunk_), merged));
}

absl::StatusOr<int64_t> AttributionJob::OnFolded(ChunkFold& fold, memory::AllocationCounter& counter) {
  const int32_t count = chunk().num_sequences;
  SequenceGroup together;
  for (int32_t i = 0; i < count; ++i) {
    if (absl::Status status = StopReason(); !status.ok()) return status;
    sequences_.push_back(MeasureSequence(fold, i));
    valid_positions_.push_back(fold.fold(i).valid().count());
    together.Merge(sequences_.back());
  }
  Tell(ChunkMetrics{static_cast<int32_t>(next_chunk_), chunk().first_sequence, count, together.ToMetrics()});
  int64_t told_bytes = 0;
  const auto tell = [&](Event event, int64_t bytes) {
    told_bytes += bytes;
    told_output_ = true;
    counter.AddExternal(bytes);
    Tell(std::move(event), bytes);
  };
  absl::Status status = TellChunkOutput(
      *prepared_, chunk().first_sequence, count, fold, counter, [this] { return StopReason(); }, tell);
  if (!status.ok()) return status;
  return told_bytes;
}

SequenceGroup AttributionJob::MeasureSequence(const ChunkFold& fold, int32_t i) const {
  SequenceGroup sequence;
  sequence.attention = fold.attention(i);
  if (!prepared_->output.skip_rollout_metrics) {
    sequence.rollout = fold.fold(i).MeasureRollout();
    if (IsCorrected(*prepared_)) {
      sequence.corrected = rollout::MeasureMatrix(fold.fold(i).Corrected(), fold.fold(i).valid());
    }
  }
  sequence.sequences = 1;
  sequence.longest = fold.fold(i).valid().length();
  return sequence;
}

AttributionJob::NextStep AttributionJob::StepAfter(const ChunkOutcome& outcome) const {
  if (outcome.status.ok())
    return next_chunk_ + 1 < grant_->plan.chunks.size() ? NextStep::kNextChunk : NextStep::kFinish;
  if (outcome.try_alone) return NextStep::kAlone;
  const bool can_halve = chunk().num_sequences > 1 && !told_output_;
  return memory::IsOutOfMemory(outcome.status) && can_halve ? NextStep::kSmallerChunks : NextStep::kFinish;
}

void AttributionJob::SettleMemory(const ChunkOutcome& outcome) {
  const NextStep step = StepAfter(outcome);
  if (step == NextStep::kFinish || step == NextStep::kAlone) memory_->EndComputing();
}

void AttributionJob::AfterChunk(const ChunkOutcome& outcome) {
  forward_time_ += outcome.forward_time;
  const NextStep step = StepAfter(outcome);
  if (outcome.status.ok()) KeepResults(outcome);
  layers_.clear();
  sequences_.clear();
  valid_positions_.clear();
  told_output_ = false;
  if (memory::IsOutOfMemory(outcome.status) && step != NextStep::kFinish) ++oom_retries_;
  switch (step) {
    case NextStep::kNextChunk:
      ++next_chunk_;
      return WaitForReader();
    case NextStep::kSmallerChunks:
      PlanSmallerChunks();
      return WaitForReader();
    case NextStep::kAlone:
      ++attempts_;
      runs_alone_ = true;
      return AskAdmission();
    case NextStep::kFinish:
      break;
  }
  if (!outcome.status.ok()) return Finish(outcome.status);
  Finish(Guarded([this] {
    Tell(MakeResult());
    return absl::OkStatus();
  }));
}

void AttributionJob::KeepResults(const ChunkOutcome& outcome) {
  peak_bytes_ = std::max(peak_bytes_, outcome.peak_bytes);
  attention_bytes_ = std::max(attention_bytes_, outcome.attention_bytes);
  for (const LayerOfChunk& layer : layers_) result_.AddLayer(layer.layer, layer.site, layer.statistics);
  for (size_t i = 0; i < sequences_.size(); ++i) {
    result_.AddSequence(sequences_[i]);
    RecordSequence(services_.metrics, *prepared_->model, sequences_[i].ToMetrics(), valid_positions_[i]);
  }
}

void AttributionJob::PlanSmallerChunks() {
  ++attempts_;
  ReturnCaches(prepared_->model->runner->description().device);
  admission::ChunkPlan& plan = grant_->plan;
  const int32_t first = chunk().first_sequence;
  plan.chunk_size =
      admission::ChunkSizeAfterOutOfMemory(prepared_->options.chunk_policy, chunk().num_sequences);
  const std::vector<int64_t> left(plan_request_.lengths.begin() + first, plan_request_.lengths.end());
  plan.chunks.resize(next_chunk_);
  for (admission::Chunk smaller :
       admission::CutChunks(left, plan.chunk_size, plan_request_.equal_lengths_only)) {
    smaller.first_sequence += first;
    plan.chunks.push_back(smaller);
  }
  TellReplanned();
}

void AttributionJob::TellReplanned() {
  Tell(Replanned{chunk().first_sequence, grant_->plan.chunk_size,
                 static_cast<int32_t>(grant_->plan.chunks.size() - next_chunk_), attempts_});
}

void AttributionJob::WaitForReader() {
  {
    const std::lock_guard lock(mutex_);
    waits_for_reader_ = true;
  }
  if (cancelled_) {  // before the flag was set: nobody else ends the wait
    if (EndWaitForReader()) Finish(StopReason());
    return;
  }
  memory_->WhenSent([self = shared_from_this()] {
    self->sink_->WhenWritable([self] {
      if (self->EndWaitForReader()) self->WaitForTurn();
    });
  });
}

bool AttributionJob::EndWaitForReader() {
  const std::lock_guard lock(mutex_);
  return std::exchange(waits_for_reader_, false);
}

void AttributionJob::WaitForTurn() {
  admission::TurnRequest request;
  request.deadline = context_.deadline;
  request.priority = context_.priority;
  request.client = context_.client;
  request.expected_seconds = prepared_->learned->duration.RequestSeconds(
      {plan_request_.lengths.begin() + chunk().first_sequence, plan_request_.lengths.end()});
  request.done = [self = shared_from_this()](absl::StatusOr<std::shared_ptr<admission::Start>> start) {
    self->OnTurn(std::move(start));
  };
  SetTicket(services_.admission.Continue(std::move(request)));
}

void AttributionJob::OnTurn(absl::StatusOr<std::shared_ptr<admission::Start>> start) {
  if (!start.ok()) return Finish(start.status());
  services_.chunks.Join(*start, shared_from_this());
}

AttributionResult AttributionJob::MakeResult() {
  AttributionResult result =
      result_.Build(prepared_->model->runner->description().sites, prepared_->output.layer_metrics);
  result.measured_peak_bytes = peak_bytes_;
  result.measured_attention_bytes = attention_bytes_;
  result.queue_seconds = absl::ToDoubleSeconds(waited_);
  result.forward_seconds = absl::ToDoubleSeconds(forward_time_);
  result.total_seconds = absl::ToDoubleSeconds(services_.now() - arrival_);
  result.num_chunks = static_cast<int32_t>(grant_->plan.chunks.size());
  result.oom_retries = oom_retries_;
  RecordPeak(services_.metrics, result.measured_peak_bytes, grant_->plan.estimated_peak_bytes);
  if (oom_retries_ > 0) RecordRecovery(services_.metrics, *prepared_->model, oom_retries_);
  return result;
}

void AttributionJob::Finish(const absl::Status& status) {
  // What is not needed goes back before the caller hears the last word.
  if (memory_ != nullptr) memory_->EndComputing();
  memory_.reset();
  RecordOutcome(status);
  sink_->OnDone(status);
  services_.on_finished(this);
}

void AttributionJob::SetTicket(admission::Ticket ticket) {
  {
    const std::lock_guard lock(mutex_);
    ticket_ = ticket;
  }
  // Whoever cancelled before the ticket was known could not tell admission; a ticket that is done is ignored.
  if (cancelled_) services_.admission.Cancel(ticket, StopReason());
}

void AttributionJob::Cancel() {
  const std::shared_ptr<AttributionJob> self = shared_from_this();  // it may end here
  std::optional<admission::Ticket> ticket;
  {
    const std::lock_guard lock(mutex_);
    cancel_time_ = std::min(cancel_time_, services_.now());
    cancelled_ = true;
    ticket = ticket_;
  }
  if (EndWaitForReader()) return Finish(StopReason());
  if (ticket.has_value()) services_.admission.Cancel(*ticket, StopReason());
}

absl::Status AttributionJob::StopReason() const {
  // First: a call is cancelled by the network when its deadline has passed.
  if (services_.now() >= context_.deadline) {
    return absl::DeadlineExceededError(
        "The deadline passed while the request was running. Allow more time, or send less.");
  }
  if (cancelled_)
    return absl::CancelledError("The request was cancelled. Its caller or the server's shutdown ended it.");
  return absl::OkStatus();
}

Admitted AttributionJob::MakeAdmitted() const {
  const models::ResidentModel& model = *prepared_->model;
  Admitted admitted;
  admitted.estimated_peak_bytes = grant_->plan.estimated_peak_bytes;
  admitted.chunk_size = grant_->plan.chunk_size;
  admitted.num_chunks = static_cast<int32_t>(grant_->plan.chunks.size());
  admitted.rollout_method = grant_->plan.rollout_method;
  admitted.num_layers = prepared_->layers.size();
  admitted.queue_seconds = absl::ToDoubleSeconds(waited_);
  admitted.expected_seconds = prepared_->learned->duration.RequestSeconds(plan_request_.lengths);
  admitted.device = model.runner->description().device.str();
  admitted.model_version = absl::StrCat(model.version);
  admitted.model_sha256 = model.sha256;
  admitted.options = prepared_->options;
  if (!prepared_->output.tokens) return admitted;
  for (const TokenSequence& sequence : prepared_->sequences) {
    admitted.tokens.push_back({sequence.input_ids, {}});
    if (model.tokenizer != nullptr)
      admitted.tokens.back().tokens = model.tokenizer->TokenStrings(sequence.input_ids);
  }
  return admitted;
}

void AttributionJob::RecordOutcome(const absl::Status& status) {
  record_.total = services_.now() - arrival_;
  record_.waited = waited_;
  record_.forward = forward_time_;
  record_.peak_bytes = peak_bytes_;
  if (cancelled_) {
    const std::lock_guard lock(mutex_);
    record_.since_cancel = services_.now() - cancel_time_;
  }
  RecordRequest(services_.metrics, record_, context_, status);
}

}  // namespace attribution::engine
