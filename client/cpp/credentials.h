// Makes the credentials of a channel from the files of the options.
#ifndef ATTRIBUTION_CLIENT_CPP_CREDENTIALS_H_
#define ATTRIBUTION_CLIENT_CPP_CREDENTIALS_H_

#include <grpcpp/security/credentials.h>

#include <memory>

#include "absl/status/statusor.h"
#include "attribution/client.h"

namespace attribution::client {

// Without TLS: none. NOT_FOUND if a file cannot be read, INVALID_ARGUMENT for a certificate without its key.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeCredentials(const ClientOptions& options);

}  // namespace attribution::client

#endif  // ATTRIBUTION_CLIENT_CPP_CREDENTIALS_H_
