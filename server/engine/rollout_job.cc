#include "server/engine/rollout_job.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/admission/admission_errors.h"
#include "server/admission/memory_model.h"
#include "server/engine/chunk_output.h"
#include "server/engine/guarded.h"
#include "server/rollout/row_selection.h"
#include "server/rollout/selected_rows.h"

namespace attribution::engine {
namespace {

// Attention that is sent comes of no site.
const std::vector<AttentionSite>& NoSite() {
  static const std::vector<AttentionSite> sites(1);
  return sites;
}

rollout::AttentionStatistics Merged(const std::vector<rollout::AttentionStatistics>& sequences) {
  rollout::AttentionStatistics merged;
  for (const rollout::AttentionStatistics& statistics : sequences) merged.Merge(statistics);
  return merged;
}

}  // namespace

RolloutJob::RolloutJob(RolloutHost& host, RolloutRequest request, CallContext context,
                       std::shared_ptr<EventSink> sink)
    : host_(host),
      request_(std::move(request)),
      context_(std::move(context)),
      sink_(std::move(sink)),
      arrival_(host.Now()),
      counter_(host.ledger()) {}

void RolloutJob::Start() {
  host_.Check([self = shared_from_this()] { self->Prepare(); });
}

void RolloutJob::Prepare() {
  const absl::Status status = Guarded([this] { return AskAdmission(); });
  if (!status.ok()) Finish(status);
}

absl::Status RolloutJob::AskAdmission() {
  if (absl::Status status = StopReason(); !status.ok()) return status;
  auto prepared = PrepareRollout(std::move(request_), host_.limits());
  if (!prepared.ok()) return prepared.status();
  prepared_ = *std::move(prepared);
  estimated_bytes_ = PredictRolloutBytes(*prepared_);
  record_.sequences = prepared_->header.batch;
  record_.longest = prepared_->header.length;
  record_.positions = record_.sequences * record_.longest;
  Await(host_.Admit(estimated_bytes_, context_,
                    [self = shared_from_this()](absl::StatusOr<RolloutHost::Lease> lease) {
                      self->OnAdmission(std::move(lease));
                    }));
  return absl::OkStatus();
}

// Admission counts lengths of its own plan; what the caller wants to know is the length of its attention.
absl::Status RolloutJob::WithOwnLength(const absl::Status& never_fits) const {
  if (ReasonOf(never_fits) != "NEVER_FITS") return never_fits;
  const std::map<std::string, std::string> metadata = MetadataOf(never_fits);
  const auto budget = metadata.find("budget_bytes");
  int64_t budget_bytes = 0;
  if (budget == metadata.end() || !absl::SimpleAtoi(budget->second, &budget_bytes)) return never_fits;
  return admission::NeverFits(estimated_bytes_, budget_bytes,
                              LongestRolloutThatFits(*prepared_, admission::EstimateThatFits(budget_bytes)));
}

void RolloutJob::OnAdmission(absl::StatusOr<RolloutHost::Lease> lease) {
  if (!lease.ok()) return Finish(WithOwnLength(lease.status()));
  waited_ = lease->waited;
  counter_.SetLimit(lease->reservation.bytes());
  memory_ = std::make_shared<RequestMemory>(std::move(lease->reservation));
  if (absl::Status status = StopReason(); !status.ok()) return Finish(status);
  Tell(MakeAdmitted());
  Rest();
}

void RolloutJob::Begin(std::function<void()> work, const std::function<void()>& refused) {
  {
    const std::lock_guard lock(mutex_);
    if (state_ == State::kAdmitting) {
      pending_ = std::move(work);  // Admitted is being told
      return;
    }
    if (state_ == State::kIdle) {
      state_ = State::kBusy;
    } else {
      work = refused;
    }
  }
  work();
}

void RolloutJob::Rest() {
  std::function<void()> work;
  {
    const std::lock_guard lock(mutex_);
    if (!cancelled_) {
      work.swap(pending_);
      state_ = work == nullptr ? State::kIdle : State::kBusy;
      if (work == nullptr) return;
    }
  }
  if (work == nullptr) return Finish(StopReason());
  work();
}

void RolloutJob::Await(admission::Ticket ticket) {
  bool cancelled = false;
  {
    const std::lock_guard lock(mutex_);
    ticket_ = ticket;
    cancelled = cancelled_;
  }
  // Whoever cancelled before the ticket was known could not tell admission; one that is done is ignored.
  if (cancelled) host_.CancelTicket(ticket, StopReason());
}

void RolloutJob::OnWorker(std::function<absl::Status()> step,
                          std::function<void(const absl::Status&)> afterwards) {
  auto result = std::make_shared<absl::Status>();
  Await(host_.RunOnWorker(
      context_,
      [self = shared_from_this(), result, step = std::move(step)] {
        *result = Guarded([&self, &step] {
          if (absl::Status status = self->StopReason(); !status.ok()) return status;
          const c10::InferenceMode inference;
          const memory::AllocationScope scope(self->counter_);
          const absl::Time start = self->host_.Now();
          absl::Status status = step();
          self->fold_time_ += self->host_.Now() - start;
          return status;
        });
      },
      [result, afterwards = std::move(afterwards)](const absl::Status& ran) {
        afterwards(ran.ok() ? *result : ran);
      }));
}

void RolloutJob::Append(int32_t layer, int64_t offset, std::string data, std::function<void()> taken) {
  const auto self = shared_from_this();
  auto piece = std::make_shared<const std::string>(std::move(data));
  const auto fold = [self, layer, offset, piece] { return self->Fold(layer, offset, *piece); };
  const auto folded = [self, taken](const absl::Status& status) {
    const absl::Status stop = status.ok() ? self->StopReason() : status;
    if (stop.ok()) self->Rest();
    taken();
    if (!stop.ok()) self->Finish(stop);
  };
  Begin([self, fold, folded] { self->OnWorker(fold, folded); }, taken);
}

absl::Status RolloutJob::MakeStream() {
  if (stream_.has_value()) return absl::OkStatus();
  const memory::AttentionScope attention;
  absl::StatusOr<rollout::AttentionStream> stream = rollout::AttentionStream::Make(
      prepared_->header, prepared_->options, at::TensorOptions(at::kFloat).device(host_.device()));
  if (!stream.ok()) return stream.status();
  stream_.emplace(*std::move(stream));
  return absl::OkStatus();
}

absl::Status RolloutJob::Fold(int32_t layer, int64_t offset, const std::string& data) {
  if (absl::Status status = MakeStream(); !status.ok()) return status;
  const auto bytes = static_cast<int64_t>(data.size());
  const int32_t complete = stream_->completed_layers();
  counter_.AddExternal(bytes);
  absl::Status status;
  {
    const memory::AttentionScope attention;
    status = stream_->Append(layer, offset, data);
  }
  counter_.AddExternal(-bytes);
  if (status.ok()) TellLayers(complete);
  return status;
}

void RolloutJob::TellLayers(int32_t from) {
  if (!prepared_->output.layer_metrics) return;
  for (int32_t layer = from; layer < stream_->completed_layers(); ++layer) {
    const rollout::AttentionStatistics merged = Merged(stream_->layer_statistics(layer));
    result_.AddLayer(layer, 0, merged);
    Tell(MakeLayerMetrics(NoSite()[0], layer, 0, merged));
  }
}

void RolloutJob::End() {
  const auto self = shared_from_this();
  const auto conclude = [self] {
    self->OnWorker([self] { return self->Conclude(); },
                   [self](const absl::Status& status) { self->Finish(status); });
  };
  Begin([self, conclude] { self->sink_->WhenWritable(conclude); }, [] {});
}

absl::Status RolloutJob::Conclude() {
  if (absl::Status status = MakeStream(); !status.ok()) return status;
  if (absl::Status status = stream_->Finish(); !status.ok()) return status;
  const bool corrected = prepared_->options.causal_correction != CausalCorrection::kNone;
  SequenceGroup together;
  for (int64_t b = 0; b < prepared_->header.batch; ++b) {
    const rollout::SequenceFold& fold = stream_->fold(b);
    SequenceGroup sequence;
    sequence.attention = stream_->layer_statistics(prepared_->options.layer_idx)[b];
    if (!prepared_->output.skip_rollout_metrics) {
      sequence.rollout = fold.MeasureRollout();
      if (corrected) sequence.corrected = rollout::MeasureMatrix(fold.Corrected(), fold.valid());
    }
    sequence.sequences = 1;
    sequence.longest = prepared_->header.length;
    result_.AddSequence(sequence);
    together.Merge(sequence);
  }
  Tell(ChunkMetrics{0, 0, static_cast<int32_t>(prepared_->header.batch), together.ToMetrics()});
  if (absl::Status status = TellOutput(); !status.ok()) return status;
  Tell(MakeResult());
  return absl::OkStatus();
}

absl::Status RolloutJob::TellOutput() {
  const bool corrected = prepared_->options.causal_correction != CausalCorrection::kNone;
  const OutputSelection& output = prepared_->output;
  const auto tell = [this](Event event, int64_t bytes) {
    counter_.AddExternal(bytes);
    Tell(std::move(event), bytes);
  };
  const auto emit = [&tell](MatrixSlice slice) {
    const auto bytes = static_cast<int64_t>(slice.data.size());
    tell(std::move(slice), bytes);
  };
  for (int64_t b = 0; output.rollout_matrix && b < prepared_->header.batch; ++b) {
    if (absl::Status status = StopReason(); !status.ok()) return status;
    MatrixSlice header;
    header.sequence_index = static_cast<int32_t>(b);
    header.encoding = output.encoding;
    const std::vector<rollout::RowRun> rows =
        rollout::SelectRows(output.rows, prepared_->MaskOf(b), prepared_->header.length);
    rollout::CutRows(stream_->fold(b).rollout(), rows, header, emit);
    if (!corrected) continue;
    header.kind = MatrixKind::kCorrected;
    rollout::CutRows(stream_->fold(b).Corrected(), rows, header, emit);
  }
  for (int64_t b = 0; output.top_k > 0 && b < prepared_->header.batch; ++b) {
    if (absl::Status status = StopReason(); !status.ok()) return status;
    const rollout::SequenceFold& fold = stream_->fold(b);
    const auto index = static_cast<int32_t>(b);
    TellTopCells(index, MatrixKind::kRollout, fold.rollout(), fold.valid(), output.top_k, counter_, tell);
    if (corrected) {
      TellTopCells(index, MatrixKind::kCorrected, fold.Corrected(), fold.valid(), output.top_k, counter_,
                   tell);
    }
  }
  return absl::OkStatus();
}

Admitted RolloutJob::MakeAdmitted() const {
  Admitted admitted;
  admitted.estimated_peak_bytes = estimated_bytes_;
  admitted.chunk_size = static_cast<int32_t>(prepared_->header.batch);
  admitted.num_chunks = 1;
  admitted.num_layers = prepared_->header.layers;
  admitted.queue_seconds = absl::ToDoubleSeconds(waited_);
  admitted.device = host_.device().str();
  admitted.options = prepared_->options;
  return admitted;
}

AttributionResult RolloutJob::MakeResult() {
  AttributionResult result = result_.Build(NoSite(), prepared_->output.layer_metrics);
  result.measured_peak_bytes = counter_.peak_bytes();
  result.measured_attention_bytes = counter_.attention_peak_bytes();
  result.queue_seconds = absl::ToDoubleSeconds(waited_);
  result.forward_seconds = absl::ToDoubleSeconds(fold_time_);
  result.total_seconds = absl::ToDoubleSeconds(host_.Now() - arrival_);
  result.num_chunks = 1;
  RecordPeak(host_.metrics(), result.measured_peak_bytes, estimated_bytes_);
  return result;
}

void RolloutJob::Finish(const absl::Status& status) {
  {
    const std::lock_guard lock(mutex_);
    state_ = State::kFinished;
    if (cancelled_) record_.since_cancel = host_.Now() - cancel_time_;
  }
  stream_.reset();
  // What is not needed goes back before the caller hears the last word.
  if (memory_ != nullptr) memory_->EndComputing();
  memory_.reset();
  record_.waited = waited_;
  record_.forward = fold_time_;
  record_.total = host_.Now() - arrival_;
  record_.peak_bytes = counter_.peak_bytes();
  RecordRequest(host_.metrics(), record_, context_, status);
  sink_->OnDone(status);
  host_.OnFinished(this);
}

void RolloutJob::Cancel() {
  const auto self = shared_from_this();
  std::optional<admission::Ticket> ticket;
  bool idle = false;
  {
    const std::lock_guard lock(mutex_);
    if (state_ == State::kFinished) return;
    cancel_time_ = std::min(cancel_time_, host_.Now());
    cancelled_ = true;
    ticket = ticket_;
    idle = state_ == State::kIdle;
    if (idle) state_ = State::kFinished;
  }
  if (idle) return Finish(StopReason());
  if (ticket.has_value()) host_.CancelTicket(*ticket, StopReason());
}

absl::Status RolloutJob::StopReason() const {
  if (host_.Now() >= context_.deadline) {
    return absl::DeadlineExceededError(
        "The deadline passed while the request was running. Allow more time, or send less.");
  }
  const std::lock_guard lock(mutex_);
  if (!cancelled_) return absl::OkStatus();
  return absl::CancelledError("The request was cancelled. Its caller or the server's shutdown ended it.");
}

}  // namespace attribution::engine
