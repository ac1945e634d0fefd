// Turns the plain structs of the public API into protobuf replies. Pure functions.
#ifndef SERVER_RPC_CONVERT_RESPONSE_H_
#define SERVER_RPC_CONVERT_RESPONSE_H_

#include "attribution/estimate.h"
#include "attribution/events.h"
#include "attribution/model_info.h"
#include "attribution/v1/attribution_service.pb.h"
#include "attribution/v1/model_service.pb.h"
#include "grpcpp/support/byte_buffer.h"

namespace attribution::rpc {

// The message is, byte for byte, also the RolloutResponse of the event.
v1::AttributeResponse ToProto(Event event);
v1::Admitted ToProto(Admitted admitted);
v1::AttributionResult ToProto(const AttributionResult& result);
v1::EstimateResponse ToProto(const AdmissionEstimate& estimate);
v1::Model ToProto(const ModelInfo& model);

// Serialises `message` for a raw method.
// REQUIRES: the message is smaller than 2 GiB.
grpc::ByteBuffer ToBytes(const google::protobuf::Message& message);

}  // namespace attribution::rpc

#endif  // SERVER_RPC_CONVERT_RESPONSE_H_
