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
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  // gRPC keeps reactor, context and response until Finish().
  const auto answer = [context, response, reactor](const absl::StatusOr<AdmissionEstimate>& estimate) {
    if (estimate.ok()) *response = ToBytes(ToProto(*estimate));
    reactor->Finish(ToFinalStatus(estimate.status(), context));
  };
  absl::Status status = SetUpCall(context).status();
  absl::StatusOr<EstimateRequest> estimate = TakeRequest<v1::EstimateRequest>(request);
  status.Update(estimate.status());
  if (status.ok()) {
    engine_.Estimate(*std::move(estimate), answer);
  } else {
    answer(status);
  }
  return reactor;
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* AttributionServiceImpl::Rollout(
    grpc::CallbackServerContext* context) {
  return ServeRollout(engine_, context, write_stall_timeout_);
}

}  // namespace attribution::rpc
