#include "server/rpc/rollout_call.h"

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "attribution/v1/attribution_service.pb.h"
#include "server/rpc/call_setup.h"
#include "server/rpc/convert_request.h"
#include "server/rpc/event_stream.h"
#include "server/rpc/stall_watch.h"

namespace attribution::rpc {
namespace {

// Options and output are fields of the header here.
absl::Status InHeader(absl::Status status) {
  const std::optional<std::string> field = FieldOf(status);
  if (!field.has_value()) return status;
  if (!absl::StartsWith(*field, "options.") && !absl::StartsWith(*field, "output.")) return status;
  status.SetPayload(kFieldPayload, absl::Cord(absl::StrCat("header.", *field)));
  return status;
}

absl::Status SlowSender(absl::Duration timeout) {
  return WithReason(absl::AbortedError(absl::StrCat(
                        "The client sent nothing of its attention for too long. The server waits ",
                        absl::FormatDuration(timeout),
                        " for each piece and has given the memory of the call back. Have the "
                        "attention ready before you start a rollout.")),
                    "SLOW_SENDER");
}

absl::Status CancelledByClient() {
  return absl::CancelledError("The request was cancelled. Its caller ended it before its last piece.");
}

// Checks a message that comes after the header.
absl::Status CheckPiece(const v1::RolloutRequest& message) {
  switch (message.part_case()) {
    case v1::RolloutRequest::kHeader:
      return InvalidField("header", "A second header. A rollout has one, in its first message.");
    case v1::RolloutRequest::PART_NOT_SET:
      return InvalidField("piece",
                          "A message without a part. After the header every message is a RolloutPiece.");
    case v1::RolloutRequest::kPiece:
      break;
  }
  const size_t size = message.piece().data().size();
  if (size <= kMaxPieceBytes) return absl::OkStatus();
  return InvalidField("piece.data", absl::StrCat("A piece is too large. It has ", size, " bytes, at most ",
                                                 kMaxPieceBytes, " are taken. Cut it into several."));
}

// One call: what gRPC tells goes in by the methods of the first part, what the engine tells by those of the
// second.
class Call : public EventSink, public std::enable_shared_from_this<Call> {
 public:
  // What reads.
  class Reader {
   public:
    virtual ~Reader() = default;
    virtual void Read(grpc::ByteBuffer* message) = 0;
  };

  // `reader` lives until the stream ends its call.
  Call(Engine& engine, grpc::CallbackServerContext* context, std::shared_ptr<EventStream> stream,
       Reader& reader)
      : engine_(engine), context_(context), stream_(std::move(stream)), reader_(reader) {}

  // Reads the header. A message that does not come within `read_stall_timeout` ends the call.
  void Begin(absl::StatusOr<CallContext> setup, absl::Duration read_stall_timeout) {
    reads_ = StallWatch::Create(context_, read_stall_timeout, [weak = weak_from_this()] {
      if (const std::shared_ptr<Call> alive = weak.lock()) alive->OnReadStall();
    });
    if (!setup.ok()) return OnDone(setup.status());
    call_context_ = *std::move(setup);
    Read();
  }

  void ReadDone(bool ok) {
    reads_->Ended();
    std::shared_ptr<RolloutCall> call;  // null before the header
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return;
      call = call_;
    }
    if (!ok) return call == nullptr ? OnDone(NoHeader()) : EndOfPieces(*call);
    v1::RolloutRequest message;
    const absl::Status parsed = ParseMessage(bytes_, &message);
    bytes_.Clear();
    if (call == nullptr) return parsed.ok() ? StartRollout(message) : OnDone(parsed);
    absl::Status status = parsed;
    if (status.ok()) status = CheckPiece(message);
    if (!status.ok()) return Refuse(status, *call);
    v1::RolloutPiece& piece = *message.mutable_piece();
    call->Append(piece.layer(), piece.offset(), std::move(*piece.mutable_data()),
                 [self = shared_from_this()] { self->Read(); });
  }

  void OnEvent(Event event, EventMemory memory) override {
    const bool admitted = std::holds_alternative<Admitted>(event);
    stream_->OnEvent(std::move(event), std::move(memory));
    if (!admitted) return;
    {
      const std::lock_guard lock(mutex_);
      admitted_ = true;
      if (call_ == nullptr) return;  // StartRollout() will read
    }
    Read();
  }

  void WhenWritable(std::function<void()> resume) override { stream_->WhenWritable(std::move(resume)); }

  void OnDone(const absl::Status& status) override {
    absl::Status last_word = status;
    std::shared_ptr<RolloutCall> call;
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
      reads_->Ended();
      call.swap(call_);
      if (!status.ok() && !refusal_.ok()) last_word = refusal_;  // the cause of the engine's cancellation
    }
    stream_->OnDone(InHeader(std::move(last_word)));
  }

 private:
  // Reads under the mutex, and so before OnDone() lets go of the reactor.
  void Read() {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    reads_->Began();
    reader_.Read(&bytes_);
  }

  absl::Status NoHeader() const {
    if (context_->IsCancelled()) return CancelledByClient();
    return InvalidField("header", "There is no header. The first message of a rollout is its RolloutHeader.");
  }

  void StartRollout(const v1::RolloutRequest& message) {
    absl::StatusOr<RolloutRequest> request = NoHeader();
    if (message.has_header()) request = FromProto(message.header());
    if (!request.ok()) {
      LogRefused(call_context_, request.status());
      return OnDone(request.status());
    }
    std::shared_ptr<RolloutCall> call =
        engine_.Rollout(*std::move(request), std::move(call_context_), shared_from_this());
    stream_->Started(call);
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return;
      call_ = std::move(call);
      if (!admitted_) return;  // OnEvent() will read
    }
    Read();
  }

  void OnReadStall() {
    reads_->Ended();  // once is enough
    std::shared_ptr<RolloutCall> call;
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return;
      call = call_;
    }
    const absl::Status status = SlowSender(reads_->timeout());
    if (call != nullptr) return Refuse(status, *call);
    LogRefused(call_context_, status);
    OnDone(status);
  }

  void EndOfPieces(RolloutCall& call) {
    if (context_->IsCancelled()) return call.Cancel();
    call.End();
  }

  // Ends the call for what the client sent.
  void Refuse(const absl::Status& status, RolloutCall& call) {
    {
      const std::lock_guard lock(mutex_);
      refusal_ = status;
    }
    call.Cancel();
  }

  Engine& engine_;
  grpc::CallbackServerContext* const context_;
  const std::shared_ptr<EventStream> stream_;
  Reader& reader_;
  CallContext call_context_;  // until the engine has it
  std::shared_ptr<StallWatch> reads_;
  grpc::ByteBuffer bytes_;  // of the read in flight, then of ReadDone()

  std::mutex mutex_;
  std::shared_ptr<RolloutCall> call_ ABSL_GUARDED_BY(mutex_);
  absl::Status refusal_ ABSL_GUARDED_BY(mutex_);
  bool admitted_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

// Passes on what gRPC tells, and is what call and stream work with.
class Reactor : public EventReactor<grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>>,
                public Call::Reader {
 public:
  Reactor(Engine& engine, grpc::CallbackServerContext* context, const std::shared_ptr<EventStream>& stream)
      : EventReactor(stream), call_(std::make_shared<Call>(engine, context, stream, *this)) {}

  void Begin(absl::StatusOr<CallContext> setup, absl::Duration read_stall_timeout) {
    call_->Begin(std::move(setup), read_stall_timeout);
  }

  void Read(grpc::ByteBuffer* message) override { StartRead(message); }
  void OnReadDone(bool ok) override { call_->ReadDone(ok); }

 private:
  const std::shared_ptr<Call> call_;
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ServeRollout(
    Engine& engine, grpc::CallbackServerContext* context, absl::StatusOr<CallContext> setup,
    absl::Duration stall_timeout) {
  auto* const reactor = new Reactor(
      engine, context, EventStream::Create(context, stall_timeout, setup.ok() ? setup->request_id : ""));
  reactor->Begin(std::move(setup), stall_timeout);
  return reactor;
}

}  // namespace attribution::rpc
