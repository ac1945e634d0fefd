#include "server/rpc/event_stream.h"

#include <utility>

#include "server/rpc/convert_response.h"
#include "server/rpc/status_mapping.h"

namespace attribution::rpc {

class EventStream::Reactor : public grpc::ServerWriteReactor<grpc::ByteBuffer>, public Writer {
 public:
  explicit Reactor(std::shared_ptr<EventStream> stream) : stream_(std::move(stream)) {}

  void Write(const grpc::ByteBuffer* message) override { StartWrite(message); }
  void End(const grpc::Status& status) override { Finish(status); }

  void OnWriteDone(bool ok) override { stream_->WriteDone(ok); }
  void OnCancel() override { stream_->Abandon(); }
  void OnDone() override { delete this; }

 private:
  const std::shared_ptr<EventStream> stream_;
};

std::shared_ptr<EventStream> EventStream::Create(grpc::CallbackServerContext* context) {
  std::shared_ptr<EventStream> stream(new EventStream(context));
  auto* reactor = new Reactor(stream);  // deletes itself when gRPC is done with it
  stream->reactor_ = reactor;
  stream->writer_ = reactor;
  return stream;
}

std::shared_ptr<EventStream> EventStream::Create(grpc::CallbackServerContext* context, Writer* writer) {
  std::shared_ptr<EventStream> stream(new EventStream(context));
  stream->writer_ = writer;
  return stream;
}

void EventStream::OnEvent(Event event, EventMemory memory) {
  grpc::ByteBuffer bytes = ToBytes(ToProto(std::move(event)));
  {
    const std::lock_guard lock(mutex_);
    if (abandoned_) return;
    unsent_bytes_ += bytes.Length();
    unsent_.push_back({std::move(bytes), std::move(memory)});
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

void EventStream::Advance() {
  std::vector<std::function<void()>> resumed;
  const grpc::ByteBuffer* write = nullptr;
  std::optional<absl::Status> finish;
  {
    const std::lock_guard lock(mutex_);
    if (abandoned_ || unsent_bytes_ < kWritableBytes) resumed.swap(waiting_);
    if (!writing_ && !unsent_.empty()) {
      writing_ = true;
      write = &unsent_.front().bytes;
    } else if (!writing_ && last_word_.has_value() && !finished_) {
      finished_ = true;
      finish = last_word_;
    }
  }
  // Calls out without the mutex. The flags set above make this thread the only one that may write or finish,
  // and until it finishes gRPC keeps the reactor.
  if (write != nullptr) writer_->Write(write);
  if (finish.has_value()) writer_->End(ToFinalStatus(*finish, context_));
  for (const std::function<void()>& resume : resumed) resume();
}

}  // namespace attribution::rpc
