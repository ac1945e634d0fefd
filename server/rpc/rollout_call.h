// Serves Rollout: reads a header, then one piece of attention at a time, and writes the engine's events.
//
// The next piece is read only when the engine has taken the last, so that a fast client waits in HTTP/2's
// flow control and the server holds one piece a call. Life as EventStream: the reactor belongs to gRPC until
// its OnDone(), and the engine's last word comes before Finish().
#ifndef SERVER_RPC_ROLLOUT_CALL_H_
#define SERVER_RPC_ROLLOUT_CALL_H_

#include <cstddef>

#include "absl/time/time.h"
#include "attribution/engine.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"

namespace attribution::rpc {

// The most bytes of one piece.
inline constexpr size_t kMaxPieceBytes = 1 << 20;

// Returns the reactor of a new call. An error of `setup`, which is SetUpCall()'s, ends it; INVALID_ARGUMENT
// ends a call whose first message is not a header, or whose later ones are not pieces of at most
// kMaxPieceBytes; ABORTED, SLOW_SENDER, one whose next message does not come within `stall_timeout`, or,
// SLOW_READER, whose client takes nothing for as long. REQUIRES: `engine` outlives the call.
grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ServeRollout(
    Engine& engine, grpc::CallbackServerContext* context, absl::StatusOr<CallContext> setup,
    absl::Duration stall_timeout);

}  // namespace attribution::rpc

#endif  // SERVER_RPC_ROLLOUT_CALL_H_
