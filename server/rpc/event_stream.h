// EventStream writes the events of one request to its client, one message in flight, through a bounded
// buffer.
//
// The engine's threads fill the buffer and never block; gRPC's threads empty it and never compute. The engine
// asks WhenWritable() before each chunk, so that the buffer holds at most kWritableBytes and the events of
// one chunk.
//
// A request that is over in a moment is told in one go: its events are kept until its last word and leave
// together with it, so that nobody is woken for them while it computes.
//
// A client that takes nothing for the write-stall timeout is given up: what is unsent is dropped, with the
// memory that it held, the engine's call is cancelled, and the call ends with ABORTED, SLOW_READER, once the
// message in flight is out. If it is not out after the same time again, the call is cancelled under it. A
// message is out when the last of its bytes has gone to the network, which the client's flow control allows.
//
// Life: the reactor belongs to gRPC until its OnDone(), and keeps the stream alive meanwhile. It is used
// only before its Finish() is called, which happens once, after the engine's last word and the last write. So
// neither side can meet the other's remains, whichever ends first.
//
// Thread-safe.
#ifndef SERVER_RPC_EVENT_STREAM_H_
#define SERVER_RPC_EVENT_STREAM_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "attribution/engine.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/call_canceller.h"
#include "server/rpc/stall_watch.h"

namespace attribution::rpc {

class EventStream : public EventSink, public std::enable_shared_from_this<EventStream> {
 public:
  // Events of one more chunk are welcome while fewer bytes than this are unsent.
  static constexpr size_t kWritableBytes = 4 << 20;
  // A request is over in a moment if it is expected to take less than this, in one chunk, and has told less.
  static constexpr double kMomentSeconds = 0.02;
  static constexpr size_t kMomentBytes = 16 << 10;

  // The part of a reactor that the stream uses.
  class Writer {
   public:
    virtual ~Writer() = default;
    virtual void Write(const grpc::ByteBuffer* message) = 0;
    // Ends the call, after a last message if there is one. WriteDone() is not called for that one.
    virtual void End(const grpc::ByteBuffer* last_message, const grpc::Status& status) = 0;
  };

  // Makes a stream; an EventReactor makes it write. `request_id` is for the log.
  // REQUIRES: write_stall_timeout > 0.
  static std::shared_ptr<EventStream> Create(grpc::CallbackServerContext* context,
                                             absl::Duration write_stall_timeout, std::string request_id);

  EventStream(const EventStream&) = delete;
  EventStream& operator=(const EventStream&) = delete;

  // Takes the engine's handle, for cancellation.
  void Started(std::shared_ptr<AttributionCall> call) { canceller_.Started(std::move(call)); }

  void OnEvent(Event event, EventMemory memory) override;
  void WhenWritable(std::function<void()> resume) override;
  void OnDone(const absl::Status& status) override;

  // For the reactor. `writer` lives until Closed(). REQUIRES: called once, before the first event.
  void UseWriter(Writer* writer) { writer_ = writer; }
  // The message in flight is out, or failed.
  void WriteDone(bool ok);
  // Drops what is unsent and stops the engine: nobody reads any more.
  void Abandon();
  // The call is over.
  void Closed() { watch_->Ended(); }

 private:
  struct Message {
    grpc::ByteBuffer bytes;
    EventMemory memory;  // of what the bytes hold
  };

  EventStream(grpc::CallbackServerContext* context, std::string request_id)
      : context_(context), request_id_(std::move(request_id)) {}

  // Does what comes next: a write, the final status, or waking the engine.
  void Advance() ABSL_LOCKS_EXCLUDED(mutex_);
  void OnStall() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status SlowReader() const;

  grpc::CallbackServerContext* const context_;
  const std::string request_id_;
  std::shared_ptr<StallWatch> watch_;  // set by Create()
  Writer* writer_ = nullptr;
  CallCanceller canceller_;

  std::mutex mutex_;
  std::deque<Message> unsent_ ABSL_GUARDED_BY(mutex_);  // the first is in flight if writing_
  size_t unsent_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> last_word_ ABSL_GUARDED_BY(mutex_);
  bool in_a_moment_ ABSL_GUARDED_BY(mutex_) = false;  // events wait for the last word
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool abandoned_ ABSL_GUARDED_BY(mutex_) = false;
  bool stalled_ ABSL_GUARDED_BY(mutex_) = false;  // abandoned because the client took nothing
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

// The reactor that gRPC is given for a stream: `GrpcReactor` is a ServerWriteReactor or a ServerBidiReactor
// of grpc::ByteBuffer. Belongs to gRPC, which lets it delete itself.
template <typename GrpcReactor>
class EventReactor : public GrpcReactor, private EventStream::Writer {
 public:
  explicit EventReactor(std::shared_ptr<EventStream> stream) : stream_(std::move(stream)) {
    stream_->UseWriter(this);
  }

  void OnWriteDone(bool ok) override { stream_->WriteDone(ok); }
  void OnCancel() override { stream_->Abandon(); }
  void OnDone() override {
    stream_->Closed();
    delete this;
  }

 protected:
  EventStream& stream() { return *stream_; }

 private:
  void Write(const grpc::ByteBuffer* message) override { this->StartWrite(message); }
  void End(const grpc::ByteBuffer* last_message, const grpc::Status& status) override {
    if (last_message == nullptr) return this->Finish(status);
    this->StartWriteAndFinish(last_message, {}, status);
  }

  const std::shared_ptr<EventStream> stream_;
};

}  // namespace attribution::rpc

#endif  // SERVER_RPC_EVENT_STREAM_H_
