// AttributionServiceImpl answers attribution.v1.AttributionService with an Engine.
//
// Thread-safe. Requests arrive as bytes and are parsed here: gRPC itself would answer bytes that protobuf
// cannot parse with an empty UNIMPLEMENTED.
#ifndef SERVER_RPC_ATTRIBUTION_SERVICE_H_
#define SERVER_RPC_ATTRIBUTION_SERVICE_H_

#include "absl/time/time.h"
#include "attribution/engine.h"
#include "attribution/v1/attribution_service.grpc.pb.h"
#include "server/rpc/call_gate.h"

namespace attribution::rpc {

using RawAttributionService = v1::AttributionService::WithRawCallbackMethod_Attribute<
    v1::AttributionService::WithRawCallbackMethod_ComputeMetrics<
        v1::AttributionService::WithRawCallbackMethod_Estimate<
            v1::AttributionService::WithRawCallbackMethod_Rollout<v1::AttributionService::Service>>>>;

class AttributionServiceImpl : public RawAttributionService {
 public:
  // REQUIRES: `engine` and `gate` outlive the grpc::Server that this is registered with.
  // A client that takes nothing for `write_stall_timeout` loses its call. REQUIRES: it is above 0.
  AttributionServiceImpl(Engine& engine, const CallGate& gate, absl::Duration write_stall_timeout)
      : engine_(engine), gate_(gate), write_stall_timeout_(write_stall_timeout) {}

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Attribute(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* ComputeMetrics(grpc::CallbackServerContext* context,
                                           const grpc::ByteBuffer* request,
                                           grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Estimate(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Rollout(
      grpc::CallbackServerContext* context) override;

 private:
  Engine& engine_;
  const CallGate& gate_;
  const absl::Duration write_stall_timeout_;
};

}  // namespace attribution::rpc

#endif  // SERVER_RPC_ATTRIBUTION_SERVICE_H_
