// Reads what surrounds a request out of its gRPC context: deadline, peer, and the metadata x-request-id,
// x-priority and traceparent.
//
// Free functions. Thread-safe.
#ifndef SERVER_RPC_CALL_SETUP_H_
#define SERVER_RPC_CALL_SETUP_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "attribution/engine.h"
#include "grpcpp/server_context.h"
#include "server/rpc/call_gate.h"

namespace attribution::rpc {

// Fills a CallContext. The request id is the client's, or a new one of 32 hexadecimal digits when it sent
// none or one that is empty, longer than 128 bytes or not printable; it is set as trailing metadata either
// way. The trace id is that of a traceparent as W3C Trace Context defines it; one that is malformed, or all
// zeros, counts as none. INVALID_ARGUMENT, with a line in the log, when x-priority is not a 32-bit integer.
// REQUIRES: called once for a call, before its Finish().
absl::StatusOr<CallContext> SetUpCall(grpc::CallbackServerContext* context);

// The same for a call that must pass `gate` in `role`, and the name of its client. Errors of the gate too,
// with a line in the log.
absl::StatusOr<CallContext> SetUpCall(grpc::CallbackServerContext* context, const CallGate& gate, Role role);

// Writes the log line of a call that ends with `status` before the engine has seen it. Those that the engine
// sees get theirs from it.
void LogRefused(const CallContext& call, const absl::Status& status);

}  // namespace attribution::rpc

#endif  // SERVER_RPC_CALL_SETUP_H_
