#include "server/rpc/attribution_service.h"

#include <memory>
#include <utility>

#include "server/rpc/call_setup.h"
#include "server/rpc/convert_request.h"
#include "server/rpc/convert_response.h"
#include "server/rpc/event_stream.h"
#include "server/rpc/metrics_reply.h"
#include "server/rpc/rollout_call.h"
#include "server/rpc/status_mapping.h"

namespace attribution::rpc {
namespace {

// Parses and converts a request, then frees its bytes, which gRPC would keep until the stream ends.
template <typename Message>
auto TakeRequest(const grpc::ByteBuffer* bytes) -> decltype(FromProto(std::declval<Message>())) {
  Message message;
  absl::Status parsed = ParseMessage(*bytes, &message);
  const_cast<grpc::ByteBuffer*>(bytes)->Clear();  // gRPC's own object, not const, and not read again
  if (!parsed.ok()) return parsed;
  return FromProto(std::move(message));
}

// Hands the request to the engine, or the error to `sink`: one way out for both. Only a call that was let in
// is parsed.
template <typename Message, typename Sink>
void Start(Engine& engine, absl::StatusOr<CallContext> call, const grpc::ByteBuffer* bytes,
           const std::shared_ptr<Sink>& sink) {
  if (!call.ok()) return sink->OnDone(call.status());
  absl::StatusOr<AttributionRequest> request = TakeRequest<Message>(bytes);
  if (!request.ok()) {
    LogRefused(*call, request.status());
    return sink->OnDone(request.status());
  }
  sink->Started(engine.Attribute(*std::move(request), *std::move(call), sink));
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* AttributionServiceImpl::Attribute(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  absl::StatusOr<CallContext> call = SetUpCall(context, gate_, Role::kAttribute);
  const std::shared_ptr<EventStream> stream =
      EventStream::Create(context, write_stall_timeout_, call.ok() ? call->request_id : "");
  auto* const reactor = new EventReactor<grpc::ServerWriteReactor<grpc::ByteBuffer>>(stream);
  Start<v1::AttributeRequest>(engine_, std::move(call), request, stream);
  return reactor;
}

grpc::ServerUnaryReactor* AttributionServiceImpl::ComputeMetrics(grpc::CallbackServerContext* context,
                                                                 const grpc::ByteBuffer* request,
                                                                 grpc::ByteBuffer* response) {
  const std::shared_ptr<MetricsReply> reply = MetricsReply::Create(context, response, write_stall_timeout_);
  grpc::ServerUnaryReactor* const reactor = reply->reactor();
  Start<v1::ComputeMetricsRequest>(engine_, SetUpCall(context, gate_, Role::kAttribute), request, reply);
  return reactor;
}

grpc::ServerUnaryReactor* AttributionServiceImpl::Estimate(grpc::CallbackServerContext* context,
                                                           const grpc::ByteBuffer* request,
                                                           grpc::ByteBuffer* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  // gRPC keeps reactor, context and response until Finish().
  const auto answer = [context, response, reactor](const absl::StatusOr<AdmissionEstimate>& estimate) {
    if (estimate.ok()) *response = ToBytes(ToProto(*estimate));
    reactor->Finish(ToFinalStatus(estimate.status(), context));
  };
  const absl::StatusOr<CallContext> call = SetUpCall(context, gate_, Role::kAttribute);
  absl::StatusOr<EstimateRequest> estimate =
      call.ok() ? TakeRequest<v1::EstimateRequest>(request) : call.status();
  if (estimate.ok()) {
    engine_.Estimate(*std::move(estimate), answer);
  } else {
    answer(estimate.status());
  }
  return reactor;
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* AttributionServiceImpl::Rollout(
    grpc::CallbackServerContext* context) {
  return ServeRollout(engine_, context, SetUpCall(context, gate_, Role::kAttribute), write_stall_timeout_);
}

}  // namespace attribution::rpc
