#include "server/rpc/event_stream.h"

#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/rpc/convert_response.h"
#include "server/rpc/status_mapping.h"
#include "server/telemetry/logging.h"

namespace attribution::rpc {
namespace {

bool IsOverInAMoment(const Event& event) {
  const auto* const admitted = std::get_if<Admitted>(&event);
  return admitted != nullptr && admitted->num_chunks == 1 && admitted->expected_seconds > 0 &&
         admitted->expected_seconds < EventStream::kMomentSeconds;
}

}  // namespace

std::shared_ptr<EventStream> EventStream::Create(grpc::CallbackServerContext* context,
                                                 absl::Duration write_stall_timeout, std::string request_id) {
  std::shared_ptr<EventStream> stream(new EventStream(context, std::move(request_id)));
  stream->watch_ =
      StallWatch::Create(context, write_stall_timeout, [weak = std::weak_ptr<EventStream>(stream)] {
        if (const std::shared_ptr<EventStream> alive = weak.lock()) alive->OnStall();
      });
  return stream;
}

void EventStream::OnEvent(Event event, EventMemory memory) {
  const bool begins_moment = IsOverInAMoment(event);
  const bool ends_moment = memory != nullptr || std::holds_alternative<Replanned>(event);
  Message message{ToBytes(ToProto(std::move(event))), std::move(memory)};
  {
    const std::lock_guard lock(mutex_);
    if (abandoned_) return;
    unsent_bytes_ += message.bytes.Length();
    unsent_.push_back(std::move(message));
    in_a_moment_ = (in_a_moment_ || begins_moment) && !ends_moment && unsent_bytes_ < kMomentBytes;
  }
  Advance();
}

void EventStream::WhenWritable(std::function<void()> resume) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(resume));
  }
  Advance();
}

void EventStream::OnDone(const absl::Status& status) {
  canceller_.Ended();
  {
    const std::lock_guard lock(mutex_);
    last_word_ = status;
  }
  Advance();
}

void EventStream::WriteDone(bool ok) {
  watch_->Ended();
  Message sent;  // its memory goes back after the lock
  {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    sent = std::move(unsent_.front());
    unsent_.pop_front();
    unsent_bytes_ -= sent.bytes.Length();
  }
  sent = {};
  if (!ok) return Abandon();
  Advance();
}

void EventStream::Abandon() {
  std::deque<Message> dropped;  // its memory goes back after the lock
  {
    const std::lock_guard lock(mutex_);
    abandoned_ = true;
    dropped.swap(unsent_);
    unsent_bytes_ = 0;
    if (writing_) {  // what is in flight stays until gRPC has let go of it
      unsent_.push_back(std::move(dropped.front()));
      dropped.pop_front();
      unsent_bytes_ = unsent_.front().bytes.Length();
    }
  }
  dropped.clear();
  canceller_.Cancel();
  Advance();
}

void EventStream::OnStall() {
  bool give_up = false;
  std::string peer;
  {
    const std::lock_guard lock(mutex_);
    if (!writing_ && !finished_) return;  // it took the message just now
    give_up = writing_ && !finished_ && !abandoned_;
    stalled_ = stalled_ || give_up;
    if (give_up) peer = context_->peer();  // the context is there while a message is in flight
  }
  if (!give_up) return watch_->CancelCall();
  telemetry::Log(
      telemetry::LogLevel::kWarning, "A client takes nothing of its stream. It is given up.",
      {{"request_id", request_id_}, {"peer", peer}, {"seconds", absl::ToDoubleSeconds(watch_->timeout())}});
  Abandon();
}

absl::Status EventStream::SlowReader() const {
  return WithReason(
      absl::AbortedError(absl::StrCat("The client took nothing of its stream for too long. The server waits ",
                                      absl::FormatDuration(watch_->timeout()),
                                      " for each message and has dropped the rest. Read faster, or ask for "
                                      "less, such as selected rows instead of matrices.")),
      "SLOW_READER");
}

void EventStream::Advance() {
  std::vector<std::function<void()>> resumed;
  const grpc::ByteBuffer* write = nullptr;
  std::optional<absl::Status> finish;
  {
    const std::lock_guard lock(mutex_);
    if (abandoned_ || unsent_bytes_ < kWritableBytes) resumed.swap(waiting_);
    if (!writing_ && !finished_) {
      const bool keep = in_a_moment_ && !last_word_.has_value();
      if (!unsent_.empty() && !keep) {
        writing_ = true;
        write = &unsent_.front().bytes;
      }
      const bool all_fits = unsent_.empty() || (in_a_moment_ && unsent_.size() == 1);
      if (last_word_.has_value() && all_fits) {
        finished_ = true;
        finish = stalled_ ? SlowReader() : *last_word_;
      }
    }
  }
  // Calls out without the mutex. The flags set above make this thread the only one that may write or finish,
  // and until it finishes gRPC keeps the reactor.
  if (write != nullptr || finish.has_value()) watch_->Began();
  if (finish.has_value()) {
    writer_->End(write, ToFinalStatus(*finish, context_));
  } else if (write != nullptr) {
    writer_->Write(write);
  }
  for (const std::function<void()>& resume : resumed) resume();
}

}  // namespace attribution::rpc
