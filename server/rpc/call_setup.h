// Reads what surrounds a request out of its gRPC context: deadline, peer, and the metadata x-request-id and
// x-priority.
#ifndef SERVER_RPC_CALL_SETUP_H_
#define SERVER_RPC_CALL_SETUP_H_

#include "absl/status/statusor.h"
#include "attribution/engine.h"
#include "grpcpp/server_context.h"

namespace attribution::rpc {

// Fills a CallContext. The request id is the client's, or a new one of 32 hexadecimal digits when it sent
// none or one that is empty, longer than 128 bytes or not printable; it is set as trailing metadata either
// way. INVALID_ARGUMENT when x-priority is not a 32-bit integer. REQUIRES: called once for a call, before its
// Finish().
absl::StatusOr<CallContext> SetUpCall(grpc::CallbackServerContext* context);

}  // namespace attribution::rpc

#endif  // SERVER_RPC_CALL_SETUP_H_
