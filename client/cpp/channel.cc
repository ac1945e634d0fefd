#include "client/cpp/channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "attribution/client.h"
#include "attribution/status_details.h"

namespace attribution::client {
namespace {

// Spreads calls over the addresses of the name, and repeats those that the server refused for now. All
// methods named here are free of side effects. gRPC waits as long as the server's `grpc-retry-pushback-ms`
// says, where it is sent.
constexpr char kServiceConfig[] = R"json({
  "loadBalancingConfig": [{"round_robin": {}}],
  "methodConfig": [{
    "name": [
      {"service": "attribution.v1.AttributionService"},
      {"service": "attribution.v1.ModelService", "method": "ListModels"},
      {"service": "attribution.v1.ModelService", "method": "GetModel"}
    ],
    "retryPolicy": {
      "maxAttempts": 5,
      "initialBackoff": "0.2s",
      "maxBackoff": "5s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
    }
  }]
})json";

// A request that is larger than this is sent once and not repeated.
constexpr int kRetryBufferBytes = 64 << 20;

// A name is looked up again after this time at the earliest, when a connection was lost.
constexpr int kResolutionMilliseconds = 1000;

}  // namespace

std::string FullTarget(const std::string& target) {
  for (const char* scheme : {"dns:", "unix:", "unix-abstract:", "ipv4:", "ipv6:", "xds:"}) {
    if (absl::StartsWith(target, scheme)) return target;
  }
  return absl::StrCat("dns:///", target);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> ConnectChannel(
    const std::string& target, const std::shared_ptr<grpc::ChannelCredentials>& credentials,
    absl::Duration timeout, bool retry) {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(kServiceConfig);
  if (!retry) arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetMaxReceiveMessageSize(-1);
  // gRPC waits 30 s: too long for a server that has just come, or for the address of one that is gone.
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, kResolutionMilliseconds);
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, kRetryBufferBytes);
  // Without a pool of its own, a new client would wait out the pause after an older client's failed attempt.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(FullTarget(target), credentials, arguments);

  const auto deadline = absl::ToChronoTime(absl::Now() + timeout);
  grpc_connectivity_state state = channel->GetState(/*try_to_connect=*/true);
  while (state != GRPC_CHANNEL_READY) {
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE || state == GRPC_CHANNEL_SHUTDOWN ||
        !channel->WaitForStateChange(state, deadline)) {
      return WithReason(absl::UnavailableError(absl::StrCat("Cannot connect to a server: ", target, ".")),
                        kCannotConnectReason);
    }
    state = channel->GetState(/*try_to_connect=*/true);
  }
  return channel;
}

}  // namespace attribution::client
