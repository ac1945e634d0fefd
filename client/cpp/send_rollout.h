// Sends the caller's attention to the server, layer by layer, while its events come back.
//
// Blocks. A thread of its own reads meanwhile, so that neither direction waits for the other; both of the
// caller's functions are called on the calling thread.
#ifndef ATTRIBUTION_CLIENT_CPP_SEND_ROLLOUT_H_
#define ATTRIBUTION_CLIENT_CPP_SEND_ROLLOUT_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "attribution/attention_header.h"
#include "attribution/events.h"
#include "attribution/v1/attribution_service.pb.h"

namespace attribution::client {

using RolloutStream = grpc::ClientReaderWriterInterface<v1::RolloutRequest, v1::RolloutResponse>;

// Sends the header, and when it is admitted each layer in pieces of at most 1 MiB; tells every event. Returns
// the error of `next_layer`, by which the call is cancelled, else OK: whether the server is content, Finish()
// of the stream tells. REQUIRES: `stream` was started with `context`, and nothing was sent yet.
absl::Status SendRollout(RolloutStream& stream, grpc::ClientContext& context, const RolloutRequest& request,
                         const std::function<absl::StatusOr<std::string>(int32_t layer)>& next_layer,
                         const std::function<void(const Event&)>& on_event);

}  // namespace attribution::client

#endif  // ATTRIBUTION_CLIENT_CPP_SEND_ROLLOUT_H_
