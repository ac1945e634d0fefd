#include "server/telemetry/metrics_http.h"

#include <CivetServer.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace attribution::telemetry {
namespace {

// Answers with the whole text; civetweb calls it from its own threads, several at once.
class TextHandler : public CivetHandler {
 public:
  explicit TextHandler(const Metrics& metrics) : metrics_(metrics) {}

  bool handleGet(CivetServer*, mg_connection* connection) override {
    const std::string text = metrics_.Text();
    mg_printf(connection,
              "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
              "Content-Length: %zu\r\nConnection: close\r\n\r\n",
              text.size());
    mg_write(connection, text.data(), text.size());
    return true;
  }

 private:
  const Metrics& metrics_;
};

// Answers what no other handler takes.
class NotFoundHandler : public CivetHandler {
 public:
  bool handleGet(CivetServer*, mg_connection* connection) override {
    mg_send_http_error(connection, 404, "%s", "Only /metrics is here.");
    return true;
  }
};

// Connects to `address` ("[HOST]:PORT" or "HOST:PORT", here with the port of the listener) and hangs up.
void Touch(const std::string& address, int port) {
  std::string host = address.substr(0, address.rfind(':'));
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return;
  if (const int client = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      client >= 0) {
    static_cast<void>(connect(client, found->ai_addr, found->ai_addrlen));
    close(client);
  }
  freeaddrinfo(found);
}

}  // namespace

class MetricsHttp::Server {
 public:
  // Throws CivetException when `address` cannot be listened on.
  Server(const std::string& address, const Metrics& metrics)
      : address_(address),
        handler_(metrics),
        server_({"listening_ports", address, "num_threads", "2", "request_timeout_ms", "10000"}) {
    server_.addHandler("/metrics$", handler_);
    server_.addHandler("/", not_found_);
  }

  // civetweb looks whether it should stop only when a connection comes or two seconds have passed, so
  // connections come.
  ~Server() {
    const int listening = port();
    const std::future<void> closed = std::async(std::launch::async, [this] { server_.close(); });
    while (closed.wait_for(std::chrono::milliseconds(20)) != std::future_status::ready)
      Touch(address_, listening);
  }

  int port() { return server_.getListeningPorts().at(0); }

 private:
  const std::string address_;
  TextHandler handler_;
  NotFoundHandler not_found_;
  CivetServer server_;  // last: its threads use the handlers
};

absl::StatusOr<std::unique_ptr<MetricsHttp>> MetricsHttp::Start(const std::string& address,
                                                                const Metrics& metrics) {
  try {
    return std::unique_ptr<MetricsHttp>(new MetricsHttp(std::make_unique<Server>(address, metrics)));
  } catch (const CivetException&) {
    return absl::UnavailableError(absl::StrCat("Cannot listen for metrics on ", address,
                                               ". Is the port taken, or the address not one of this machine? "
                                               "Choose another with --metrics-listen."));
  }
}

MetricsHttp::MetricsHttp(std::unique_ptr<Server> server) : server_(std::move(server)) {}
MetricsHttp::~MetricsHttp() = default;
int MetricsHttp::port() const { return server_->port(); }

}  // namespace attribution::telemetry
