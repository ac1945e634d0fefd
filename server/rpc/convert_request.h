// Turns protobuf requests into the plain structs of the public API.
//
// Pure functions. A field that the client left unset stays unset; what it means is the engine's business, as
// are ranges. Only what a plain struct cannot express is refused here: a number that no enum of ours has.
#ifndef SERVER_RPC_CONVERT_REQUEST_H_
#define SERVER_RPC_CONVERT_REQUEST_H_

#include "absl/status/statusor.h"
#include "attribution/attention_header.h"
#include "attribution/estimate.h"
#include "attribution/request.h"
#include "attribution/v1/attribution_service.pb.h"
#include "grpcpp/support/byte_buffer.h"

namespace attribution::rpc {

// Parses `bytes` into `message`. INVALID_ARGUMENT when they are not such a message or hold a string that is
// not UTF-8.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message);

// INVALID_ARGUMENT with the field's path for an enum number that is not known.
absl::StatusOr<AttributionRequest> FromProto(v1::AttributeRequest message);

// The same without matrices: the output holds nothing but metrics.
absl::StatusOr<AttributionRequest> FromProto(v1::ComputeMetricsRequest message);

absl::StatusOr<EstimateRequest> FromProto(v1::EstimateRequest message);

// INVALID_ARGUMENT, too, for a form or an element type that is not set. Fields of the options and the output
// have no "header." in front, as in every other request.
absl::StatusOr<RolloutRequest> FromProto(const v1::RolloutHeader& message);

}  // namespace attribution::rpc

#endif  // SERVER_RPC_CONVERT_REQUEST_H_
