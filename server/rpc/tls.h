// The server's side of TLS: what its files must be, and the credentials that follow them when they change.
#ifndef SERVER_RPC_TLS_H_
#define SERVER_RPC_TLS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/security/server_credentials.h"

namespace attribution::rpc {

struct TlsOptions {
  std::string certificate;  // PEM file, with its chain; empty: no TLS
  std::string key;          // PEM file
  std::string client_ca;    // PEM file; empty: clients are not asked for a certificate
  absl::Duration refresh_interval = absl::Minutes(1);  // at least a second

  bool enabled() const { return !certificate.empty(); }
};

// Returns what one listening port takes; it outlives the server that listens there. The files are looked at
// by the first connection after each refresh interval; a set that is whole and fits together serves from then
// on, any other is passed over, and logged. A client certificate is checked if one comes; that one comes is
// CallGate's part. INVALID_ARGUMENT, naming the file, if one cannot be read, is not PEM, or the key is not
// the certificate's. An expired certificate is served, and logged: its clients will refuse it.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const TlsOptions& options);

}  // namespace attribution::rpc

#endif  // SERVER_RPC_TLS_H_
