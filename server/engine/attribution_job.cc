#include "server/engine/attribution_job.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/engine/chunk_batch.h"
#include "server/engine/chunk_output.h"
#include "server/engine/job_telemetry.h"
#include "server/engine/layers_of_input.h"
#include "server/engine/plan_request.h"
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
      model_name_(request_.model),
      context_(std::move(context)),
      sink_(std::move(sink)),
      arrival_(services.now()) {}

void AttributionJob::Start() {
  services_.intake.Submit([self = shared_from_this()] { self->Prepare(); });
}

absl::Status AttributionJob::Guarded(const std::function<absl::Status()>& step) {
  try {
    return step();
  } catch (const std::exception& error) {
    if (memory::IsOutOfMemory(error)) return memory::OutOfMemory(error);
    const std::string what = error.what();
    const std::string sentence =
        absl::StrCat("The computation failed. It said: ", what.substr(0, what.find('\n')),
                     ". The server's log has the whole message.");
    return WithLogDetail(WithReason(absl::InternalError(sentence), "COMPUTATION_FAILED"), what);
  }
}

void AttributionJob::Prepare() {
  const absl::Status status = Guarded([this] { return AskAdmission(); });
  if (!status.ok()) Finish(status);
}

absl::Status AttributionJob::AskAdmission() {
  if (absl::Status status = StopReason(); !status.ok()) return status;
  auto model = services_.models.Find(request_.model, request_.model_version);
  if (!model.ok()) return model.status();
  auto prepared = PrepareRequest(std::move(request_), services_.limits, *std::move(model));
  if (!prepared.ok()) return prepared.status();
  prepared_ = *std::move(prepared);
  result_.emplace();

  admission::AdmissionRequest request;
  request.plan = MakePlanRequest(*prepared_, services_.rows_in_work);
  request.deadline = context_.deadline;
  request.priority = context_.priority;
  request.request_bytes = BytesOf(*prepared_);
  request.done = [self = shared_from_this()](absl::StatusOr<admission::Grant> grant) {
    self->OnAdmission(std::move(grant));
  };
  const admission::Ticket ticket = services_.admission.Submit(std::move(request));
  {
    const std::lock_guard lock(mutex_);
    ticket_ = ticket;
  }
  // Whoever cancelled before the ticket was known could not tell admission; a ticket that is done is ignored.
  if (cancelled_) services_.admission.Cancel(ticket, StopReason());
  return absl::OkStatus();
}

void AttributionJob::OnAdmission(absl::StatusOr<admission::Grant> grant) {
  if (!grant.ok()) return Finish(grant.status());
  grant_ = *std::move(grant);
  const absl::Status told = Guarded([this] {
    Tell(MakeAdmitted());
    return absl::OkStatus();
  });
  if (!told.ok()) return Finish(told);
  RecordAdmission(services_.metrics, *grant_, services_.now() - arrival_);
  QueueChunk();
}

void AttributionJob::QueueChunk() {
  const auto self = shared_from_this();
  services_.workers.Submit([self] { self->RunChunk(); }, [self] { self->AfterChunk(); });
}

void AttributionJob::RunChunk() {
  chunk_status_ = Guarded([this] {
    const absl::Status status = StopReason();
    return status.ok() ? ComputeChunk(grant_->plan.chunks[next_chunk_]) : status;
  });
  if (memory::IsOutOfMemory(chunk_status_)) RecordOutOfMemory(services_.metrics, *prepared_->model);
}

void AttributionJob::AfterChunk() {
  if (!chunk_status_.ok()) return Finish(chunk_status_);
  if (++next_chunk_ < grant_->plan.chunks.size()) {
    return sink_->WhenWritable([self = shared_from_this()] { self->QueueChunk(); });
  }
  Finish(Guarded([this] {
    Tell(MakeResult());
    return absl::OkStatus();
  }));
}

absl::Status AttributionJob::ComputeChunk(const admission::Chunk& chunk) {
  const models::ResidentModel& model = *prepared_->model;
  const c10::InferenceMode inference;
  counter_.AddExternal(-unsent_bytes_);  // the sink took what the last chunk told
  unsent_bytes_ = 0;
  const memory::AllocationScope scope(counter_);

  const std::vector<at::Tensor> inputs =
      prepared_->tensors.has_value()
          ? MakeChunkBatch(*prepared_->tensors, chunk.first_sequence, chunk.num_sequences)
          : MakeChunkBatch(prepared_->sequences, chunk.first_sequence, chunk.num_sequences,
                           chunk.padded_length, model.runner->description().inputs,
                           model.manifest.pad_token_id.value_or(0));
  if (!model.runner->description().layers_depend_on_input) return FoldChunk(*prepared_, chunk, inputs);
  auto own = WithLayersOfInput(*prepared_, inputs);
  return own.ok() ? FoldChunk(*own, chunk, inputs) : own.status();
}

absl::Status AttributionJob::FoldChunk(const PreparedRequest& request, const admission::Chunk& chunk,
                                       const std::vector<at::Tensor>& inputs) {
  const models::ResidentModel& model = *request.model;
  const std::vector<AttentionSite>& sites = model.runner->description().sites;
  const auto chunk_index = static_cast<int32_t>(next_chunk_);
  const auto layer_done = [&](int32_t layer, const std::vector<rollout::AttentionStatistics>& sequences) {
    if (request.output.layer_metrics) {
      rollout::AttentionStatistics merged;
      for (const rollout::AttentionStatistics& statistics : sequences) merged.Merge(statistics);
      const AttentionSite& site = sites[request.layers.SiteOf(layer)];
      result_->AddLayer(layer, site.index, merged);
      Tell(MakeLayerMetrics(site, layer, chunk_index, merged));
    }
    return StopReason();
  };
  ChunkFold fold(request, chunk.first_sequence, chunk.num_sequences, layer_done, grant_->plan.rollout_method);
  const absl::Time start = services_.now();
  absl::Status ran = model.runner->Run(inputs, fold);
  const absl::Duration forward = services_.now() - start;
  forward_time_ += forward;
  RecordChunk(services_.metrics, model, chunk.num_sequences, forward, fold.fold_time());
  if (!ran.ok()) return ran;
  if (absl::Status status = fold.Finish(); !status.ok()) return status;
  return TellChunk(chunk, fold);
}

absl::Status AttributionJob::TellChunk(const admission::Chunk& chunk, ChunkFold& fold) {
  SequenceGroup together;
  for (int32_t i = 0; i < chunk.num_sequences; ++i) {
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
    result_->AddSequence(sequence);
    together.Merge(sequence);
    RecordSequence(services_.metrics, *prepared_->model, sequence.ToMetrics(), fold.fold(i).valid().count());
  }
  Tell(ChunkMetrics{static_cast<int32_t>(next_chunk_), chunk.first_sequence, chunk.num_sequences,
                    together.ToMetrics()});
  const auto tell = [this](Event event, int64_t bytes) {
    unsent_bytes_ += bytes;
    counter_.AddExternal(bytes);
    Tell(std::move(event));
  };
  return TellChunkOutput(
      *prepared_, chunk.first_sequence, chunk.num_sequences, fold, counter_, [this] { return StopReason(); },
      tell);
}

AttributionResult AttributionJob::MakeResult() {
  AttributionResult result =
      result_->Build(prepared_->model->runner->description().sites, prepared_->output.layer_metrics);
  result.measured_peak_bytes = counter_.peak_bytes();
  result.measured_attention_bytes = counter_.attention_peak_bytes();
  result.queue_seconds = absl::ToDoubleSeconds(grant_->waited);
  result.forward_seconds = absl::ToDoubleSeconds(forward_time_);
  result.total_seconds = absl::ToDoubleSeconds(services_.now() - arrival_);
  result.num_chunks = static_cast<int32_t>(grant_->plan.chunks.size());
  RecordPeak(services_.metrics, result.measured_peak_bytes, grant_->plan.estimated_peak_bytes);
  return result;
}

void AttributionJob::Finish(const absl::Status& status) {
  grant_.reset();  // the reservation goes back before the caller hears the last word
  RecordOutcome(status);
  sink_->OnDone(status);
  services_.on_finished(this);
}

void AttributionJob::Cancel() {
  std::optional<admission::Ticket> ticket;
  {
    const std::lock_guard lock(mutex_);
    cancel_time_ = std::min(cancel_time_, services_.now());
    cancelled_ = true;
    ticket = ticket_;
  }
  if (ticket.has_value()) services_.admission.Cancel(*ticket, StopReason());
}

absl::Status AttributionJob::StopReason() const {
  if (cancelled_)
    return absl::CancelledError("The request was cancelled. Its caller or the server's shutdown ended it.");
  if (services_.now() >= context_.deadline) {
    return absl::DeadlineExceededError(
        "The deadline passed while the request was running. Allow more time, or send less.");
  }
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
  admitted.queue_seconds = absl::ToDoubleSeconds(grant_->waited);
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
  absl::Duration since_cancel = absl::ZeroDuration();
  if (cancelled_) {
    const std::lock_guard lock(mutex_);
    since_cancel = services_.now() - cancel_time_;
  }
  RecordRequest(services_.metrics, {model_name_, context_.request_id, context_.peer}, status,
                services_.now() - arrival_, since_cancel);
}

}  // namespace attribution::engine
