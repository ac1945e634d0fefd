// EventStream writes the events of one request to its client, one message in flight, through a bounded
// buffer.
//
// The engine's threads fill the buffer and never block; gRPC's threads empty it and never compute. The engine
// asks WhenWritable() before each chunk, so that the buffer holds at most kWritableBytes and the events of
// one chunk.
//
// Life: the reactor belongs to gRPC until its OnDone(), and keeps the stream alive meanwhile. It is used
// only before Finish() is called, which happens once, after the engine's last word and the last write. So
// neither side can meet the other's remains, whichever ends first. A method whose reactor is of another kind
// lends it as a Writer and passes on what gRPC tells it.
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
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "attribution/engine.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/call_canceller.h"

namespace attribution::rpc {

class EventStream : public EventSink, public std::enable_shared_from_this<EventStream> {
 public:
  // Events of one more chunk are welcome while fewer bytes than this are unsent.
  static constexpr size_t kWritableBytes = 4 << 20;

  // The part of a reactor that the stream uses.
  class Writer {
   public:
    virtual ~Writer() = default;
    virtual void Write(const grpc::ByteBuffer* message) = 0;
    virtual void End(const grpc::Status& status) = 0;
  };

  // Makes a stream and the reactor that gRPC is to be given.
  static std::shared_ptr<EventStream> Create(grpc::CallbackServerContext* context);

  // Makes a stream that writes to `writer`, which lives until End(). Its owner calls
  // WriteDone() and Abandon().
  static std::shared_ptr<EventStream> Create(grpc::CallbackServerContext* context, Writer* writer);

  EventStream(const EventStream&) = delete;
  EventStream& operator=(const EventStream&) = delete;

  // The reactor to return from the method; null if the stream writes to a Writer.
  grpc::ServerWriteReactor<grpc::ByteBuffer>* reactor() const { return reactor_; }

  // Takes the engine's handle, for cancellation.
  void Started(std::shared_ptr<AttributionCall> call) { canceller_.Started(std::move(call)); }

  void OnEvent(Event event, EventMemory memory) override;
  void WhenWritable(std::function<void()> resume) override;
  void OnDone(const absl::Status& status) override;

  // The write in flight is over; not `ok`: the client is gone.
  void WriteDone(bool ok);
  // Drops what is unsent and stops the engine: nobody reads any more.
  void Abandon();

 private:
  class Reactor;

  struct Message {
    grpc::ByteBuffer bytes;
    EventMemory memory;  // of what the bytes hold
  };

  explicit EventStream(grpc::CallbackServerContext* context) : context_(context) {}

  // Does what comes next: a write, the final status, or waking the engine.
  void Advance() ABSL_LOCKS_EXCLUDED(mutex_);

  grpc::CallbackServerContext* const context_;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* reactor_ = nullptr;
  Writer* writer_ = nullptr;
  CallCanceller canceller_;

  std::mutex mutex_;
  std::deque<Message> unsent_ ABSL_GUARDED_BY(mutex_);  // the first is in flight if writing_
  size_t unsent_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> last_word_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool abandoned_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace attribution::rpc

#endif  // SERVER_RPC_EVENT_STREAM_H_
