#include "server/rpc/call_gate.h"

#include <string_view>

#include "absl/strings/match.h"
#include "attribution/status_details.h"
#include "grpc/grpc_security_constants.h"

namespace attribution::rpc {
namespace {

constexpr absl::string_view kBearer = "bearer ";

// The bearer token of the metadata; empty if there is none, or more than one.
std::string_view TokenOf(const grpc::CallbackServerContext& context) {
  const auto [first, last] = context.client_metadata().equal_range("authorization");
  if (first == last || std::next(first) != last) return "";
  const absl::string_view value(first->second.data(), first->second.size());
  if (!absl::StartsWithIgnoreCase(value, kBearer)) return "";
  return {value.data() + kBearer.size(), value.size() - kBearer.size()};
}

std::string FirstProperty(const grpc::CallbackServerContext& context, const char* name) {
  const auto values = context.auth_context()->FindPropertyValues(name);
  return values.empty() ? "" : std::string(values.front().data(), values.front().size());
}

// Of `ipv4:10.0.0.7:51234`: `ipv4:10.0.0.7`.
std::string AddressOf(const std::string& peer) {
  const size_t colon = peer.rfind(':');
  return colon == std::string::npos ? peer : peer.substr(0, colon);
}

}  // namespace

absl::StatusOr<std::string> CallGate::LetIn(const grpc::CallbackServerContext& context, Role role) const {
  const bool has_certificate = !FirstProperty(context, GRPC_X509_PEM_CERT_PROPERTY_NAME).empty();
  if (needs_certificate_ && !has_certificate) {
    return WithReason(absl::UnauthenticatedError(
                          "The connection has no client certificate. Connect with one that an authority "
                          "of this server has signed."),
                      "CERTIFICATE_MISSING");
  }
  if (tokens_ != nullptr) return tokens_->LetIn(TokenOf(context), role);
  const std::string name = FirstProperty(context, GRPC_X509_CN_PROPERTY_NAME);
  return has_certificate && !name.empty() ? name : AddressOf(context.peer());
}

}  // namespace attribution::rpc
