// MetricsHttp answers GET /metrics over HTTP for Prometheus; every other path is 404.
//
// prometheus-cpp's own Exposer is not used: it adds a summary about itself, and this program shows histograms
// only. Start and destroy it from one thread. It answers on threads of its own.
#ifndef SERVER_TELEMETRY_METRICS_HTTP_H_
#define SERVER_TELEMETRY_METRICS_HTTP_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/telemetry/metrics.h"

namespace attribution::telemetry {

class MetricsHttp {
 public:
  // Listens on `address`, HOST:PORT; port 0 takes a free one. UNAVAILABLE when that cannot be done.
  // REQUIRES: `metrics` outlives the result.
  static absl::StatusOr<std::unique_ptr<MetricsHttp>> Start(const std::string& address,
                                                            const Metrics& metrics);

  // Stops listening; waits for answers under way.
  ~MetricsHttp();

  // The port that is listened on.
  int port() const;

 private:
  class Server;
  explicit MetricsHttp(std::unique_ptr<Server> server);
  std::unique_ptr<Server> server_;
};

}  // namespace attribution::telemetry

#endif  // SERVER_TELEMETRY_METRICS_HTTP_H_
