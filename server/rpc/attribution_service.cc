#include "server/rpc/attribution_service.h"

#include <memory>
#include <utility>

#include "server/rpc/call_setup.h"
#include "server/rpc/convert_request.h"
#include "server/rpc/event_stream.h"
#include "server/rpc/metrics_reply.h"
#include "server/rpc/status_mapping.h"
#include "server/rpc/unary_call.h"

namespace attribution::rpc {
namespace {

// Refuses a bidirectional call.
class RefusingBidiReactor : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit RefusingBidiReactor(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

// Parses and converts a request, then frees its bytes, which gRPC would keep until the stream ends.
template <typename Message>
absl::StatusOr<AttributionRequest> TakeRequest(const grpc::ByteBuffer* bytes) {
  Message message;
  const absl::Status parsed = ParseMessage(*bytes, &message);
  const_cast<grpc::ByteBuffer*>(bytes)->Clear();  // gRPC's own object, not const, and not read again
  if (!parsed.ok()) return parsed;
  return FromProto(std::move(message));
}

// Hands the request to the engine, or the error to `sink`: one way out for both.
template <typename Sink>
void Start(Engine& engine, absl::StatusOr<CallContext> call, absl::StatusOr<AttributionRequest> request,
           const std::shared_ptr<Sink>& sink) {
  absl::Status status = call.status();
  if (call.ok() && !request.ok()) LogRefused(*call, request.status());
  status.Update(request.status());
  if (!status.ok()) return sink->OnDone(status);
  sink->Started(engine.Attribute(*std::move(request), *std::move(call), sink));
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* AttributionServiceImpl::Attribute(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  absl::StatusOr<CallContext> call = SetUpCall(context);
  const std::shared_ptr<EventStream> stream =
      EventStream::Create(context, write_stall_timeout_, call.ok() ? call->request_id : "");
  auto* const reactor = new EventReactor<grpc::ServerWriteReactor<grpc::ByteBuffer>>(stream);
  Start(engine_, std::move(call), TakeRequest<v1::AttributeRequest>(request), stream);
  return reactor;
}

grpc::ServerUnaryReactor* AttributionServiceImpl::ComputeMetrics(grpc::CallbackServerContext* context,
                                                                 const grpc::ByteBuffer* request,
                                                                 grpc::ByteBuffer* response) {
  const std::shared_ptr<MetricsReply> reply = MetricsReply::Create(context, response, write_stall_timeout_);
  grpc::ServerUnaryReactor* const reactor = reply->reactor();
  Start(engine_, SetUpCall(context), TakeRequest<v1::ComputeMetricsRequest>(request), reply);
  return reactor;
}

grpc::ServerUnaryReactor* AttributionServiceImpl::Estimate(grpc::CallbackServerContext* context,
                                                           const grpc::ByteBuffer* request,
                                                           grpc::ByteBuffer* response) {
  return AnswerUnary<v1::EstimateRequest>(
      context, request, response, [](const v1::EstimateRequest&) -> absl::StatusOr<v1::EstimateResponse> {
        return NotBuiltYet("Estimate");
      });
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* AttributionServiceImpl::Rollout(
    grpc::CallbackServerContext* context) {
  absl::Status status = SetUpCall(context).status();
  status.Update(NotBuiltYet("Rollout"));
  return new RefusingBidiReactor(ToFinalStatus(status, context));
}

}  // namespace attribution::rpc
