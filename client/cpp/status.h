// Turns the status of a gRPC call, and the google.rpc details attached to it, into an absl::Status with
// payloads.
#ifndef ATTRIBUTION_CLIENT_CPP_STATUS_H_
#define ATTRIBUTION_CLIENT_CPP_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"

namespace attribution::client {

// Keeps code and message. google.rpc.BadRequest becomes the field of FieldOf(), ErrorInfo the reason of
// ReasonOf(), and metadata, RetryInfo the delay of RetryDelayOf(). UNAVAILABLE without any detail came from
// the network, not from a server, which always attaches one: it gets kCannotConnectReason and a message that
// names `target`.
absl::Status FromGrpcStatus(const grpc::Status& status, const std::string& target);

}  // namespace attribution::client

#endif  // ATTRIBUTION_CLIENT_CPP_STATUS_H_
