// Turns an absl::Status into what a gRPC client sees: code, message, google.rpc details and the retry
// trailer.
//
// Pure functions but for the trailer, which goes to the context.
#ifndef SERVER_RPC_STATUS_MAPPING_H_
#define SERVER_RPC_STATUS_MAPPING_H_

#include "absl/status/status.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"

namespace attribution::rpc {

// Domain of every ErrorInfo.
inline constexpr char kErrorDomain[] = "attribution";

// Longest message that is sent, bytes: message and details share the 8 KiB that clients accept as metadata.
inline constexpr size_t kMaxMessageBytes = 1200;

// Code and message, and in grpc-status-details-bin a google.rpc.Status with
//   BadRequest, if FieldOf(status): the field and the message;
//   ErrorInfo, if ReasonOf(status): reason, domain `attribution`, MetadataOf(status);
//   RetryInfo, if RetryDelayOf(status).
grpc::Status ToGrpcStatus(const absl::Status& status);

// The same, and sets the trailer grpc-retry-pushback-ms when the status says that a retry may help.
// REQUIRES: called once for a call, before its Finish().
grpc::Status ToFinalStatus(const absl::Status& status, grpc::ServerContextBase* context);

}  // namespace attribution::rpc

#endif  // SERVER_RPC_STATUS_MAPPING_H_
