#include "server/rpc/connections.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace attribution::rpc {
namespace {

// The port that a socket is bound to; nothing for other files.
std::optional<int> LocalPort(int descriptor) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  if (getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &size) != 0) return std::nullopt;
  if (address.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port);
  return std::nullopt;
}

bool IsListening(int descriptor) {
  int listening = 0;
  socklen_t size = sizeof(listening);
  return getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening != 0;
}

}  // namespace

void ShutDownSockets(int port) {
  std::vector<int> connected;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    const int descriptor = std::stoi(entry.path().filename().string());
    if (LocalPort(descriptor) != port) continue;
    if (IsListening(descriptor)) {
      shutdown(descriptor, SHUT_RDWR);
    } else {
      connected.push_back(descriptor);
    }
  }
  for (const int descriptor : connected) shutdown(descriptor, SHUT_RDWR);
}

}  // namespace attribution::rpc
