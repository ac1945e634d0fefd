#include "server/telemetry/metrics_http.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

namespace attribution::telemetry {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// The whole reply to a request of HTTP/1.0 on the loopback interface.
std::string Get(int port, const std::string& path) {
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string reply;
  if (connect(client, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
    if (send(client, request.data(), request.size(), 0) == static_cast<ssize_t>(request.size())) {
      char buffer[4096];
      for (ssize_t n = 0; (n = recv(client, buffer, sizeof(buffer), 0)) > 0;) reply.append(buffer, n);
    }
  }
  close(client);
  return reply;
}

TEST(MetricsHttpTest, ServesTheTextOnAFreePort) {
  const Metrics metrics({"1", "2"});
  const auto http = MetricsHttp::Start("127.0.0.1:0", metrics);
  ASSERT_TRUE(http.ok()) << http.status();
  ASSERT_GT((*http)->port(), 0);
  const std::string reply = Get((*http)->port(), "/metrics");
  EXPECT_THAT(reply, StartsWith("HTTP/1.1 200 OK"));
  EXPECT_THAT(reply, HasSubstr("Content-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(reply, EndsWith("\r\n\r\n" + metrics.Text()));
}

TEST(MetricsHttpTest, ShowsValuesOfTheMoment) {
  Metrics metrics({"1", "2"});
  const auto http = MetricsHttp::Start("127.0.0.1:0", metrics);
  ASSERT_TRUE(http.ok()) << http.status();
  EXPECT_THAT(Get((*http)->port(), "/metrics"), HasSubstr("attribution_requests_total{outcome=\"ok\"} 0\n"));
  metrics.Add(MetricId::kRequests, {"ok"});
  EXPECT_THAT(Get((*http)->port(), "/metrics"), HasSubstr("attribution_requests_total{outcome=\"ok\"} 1\n"));
}

TEST(MetricsHttpTest, OtherPathsAreNotFound) {
  const Metrics metrics({"1", "2"});
  const auto http = MetricsHttp::Start("127.0.0.1:0", metrics);
  ASSERT_TRUE(http.ok()) << http.status();
  for (const char* path : {"/", "/etc/passwd", "/metrics/more", "/../metrics.txt"}) {
    EXPECT_THAT(Get((*http)->port(), path), HasSubstr(" 404 ")) << path;
  }
}

TEST(MetricsHttpTest, TakenPortIsAnError) {
  const Metrics metrics({"1", "2"});
  const auto first = MetricsHttp::Start("127.0.0.1:0", metrics);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = MetricsHttp::Start("127.0.0.1:" + std::to_string((*first)->port()), metrics);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("Cannot listen for metrics on 127.0.0.1:"));
}

}  // namespace
}  // namespace attribution::telemetry
