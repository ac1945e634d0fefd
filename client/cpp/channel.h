// Makes the channel of a client: name resolution, load balancing, retries and message sizes.
#ifndef ATTRIBUTION_CLIENT_CPP_CHANNEL_H_
#define ATTRIBUTION_CLIENT_CPP_CHANNEL_H_

#include <grpcpp/channel.h>
#include <grpcpp/security/credentials.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace attribution::client {

// Returns `target` as gRPC takes it: a bare `host:port` gets `dns:///` in front.
std::string FullTarget(const std::string& target);

// Returns a connected channel. UNAVAILABLE with kCannotConnectReason as soon as every address has refused, or
// after `timeout`. Without `retry` every call is sent once.
absl::StatusOr<std::shared_ptr<grpc::Channel>> ConnectChannel(
    const std::string& target, const std::shared_ptr<grpc::ChannelCredentials>& credentials,
    absl::Duration timeout, bool retry);

}  // namespace attribution::client

#endif  // ATTRIBUTION_CLIENT_CPP_CHANNEL_H_
