// CallGate decides who may call: by client certificate, by bearer token, or anybody.
//
// Health and reflection stand outside: they tell nothing that a token protects. Thread-safe.
#ifndef SERVER_RPC_CALL_GATE_H_
#define SERVER_RPC_CALL_GATE_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "grpcpp/server_context.h"
#include "server/rpc/token_authority.h"

namespace attribution::rpc {

class CallGate {
 public:
  // `tokens`: null if none are asked for.
  CallGate(std::unique_ptr<TokenAuthority> tokens, bool needs_certificate)
      : tokens_(std::move(tokens)), needs_certificate_(needs_certificate) {}

  // Lets the call in and returns who calls: the name of the token, else of the certificate, else the address
  // without its port. UNAUTHENTICATED CERTIFICATE_MISSING, or as TokenAuthority::LetIn(). Without tokens
  // every caller may do everything.
  absl::StatusOr<std::string> LetIn(const grpc::CallbackServerContext& context, Role role) const;

 private:
  const std::unique_ptr<TokenAuthority> tokens_;
  const bool needs_certificate_;
};

}  // namespace attribution::rpc

#endif  // SERVER_RPC_CALL_GATE_H_
