// MetricsReply keeps the first and the last event of one request and answers a unary call with them.
//
// Life as EventStream: the reactor belongs to gRPC until its OnDone() and keeps the reply alive meanwhile.
// Thread-safe: gRPC uses the reactor only for OnCancel and OnDone, the engine calls one event at a time.
#ifndef SERVER_RPC_METRICS_REPLY_H_
#define SERVER_RPC_METRICS_REPLY_H_

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "attribution/engine.h"
#include "attribution/v1/attribution_service.pb.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/call_canceller.h"
#include "server/rpc/stall_watch.h"

namespace attribution::rpc {

class MetricsReply : public EventSink {
 public:
  // Makes a reply and the reactor that gRPC is to be given. Fills `response`, which gRPC owns until the call
  // ends.
  // A client that does not take the answer for `write_stall_timeout` loses its call.
  // REQUIRES: write_stall_timeout > 0.
  static std::shared_ptr<MetricsReply> Create(grpc::CallbackServerContext* context,
                                              grpc::ByteBuffer* response, absl::Duration write_stall_timeout);

  MetricsReply(const MetricsReply&) = delete;
  MetricsReply& operator=(const MetricsReply&) = delete;

  // The reactor to return from the method.
  grpc::ServerUnaryReactor* reactor() { return reactor_; }

  // Takes the engine's handle, for cancellation.
  void Started(std::shared_ptr<AttributionCall> call) { canceller_.Started(std::move(call)); }

  void OnEvent(Event event, EventMemory memory) override;
  void OnDone(const absl::Status& status) override;

 private:
  class Reactor;

  MetricsReply(grpc::CallbackServerContext* context, grpc::ByteBuffer* response,
               absl::Duration write_stall_timeout);

  grpc::CallbackServerContext* const context_;
  grpc::ByteBuffer* const response_;
  const std::shared_ptr<StallWatch> watch_;
  grpc::ServerUnaryReactor* reactor_ = nullptr;
  CallCanceller canceller_;
  v1::ComputeMetricsResponse message_;
};

}  // namespace attribution::rpc

#endif  // SERVER_RPC_METRICS_REPLY_H_
