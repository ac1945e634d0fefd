// What a load test has measured, gathered from its samples, and how it is told.
//
// Not thread-safe.
#ifndef ATTRIBUTION_CLIENT_CLI_LOAD_REPORT_H_
#define ATTRIBUTION_CLIENT_CLI_LOAD_REPORT_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cli/latency_histogram.h"

namespace attribution::cli {

// One request of a load test.
struct LoadSample {
  size_t shape = 0;
  int64_t sequences = 0;
  absl::Duration latency;                     // from the moment it was due to its end
  std::optional<absl::Duration> first_event;  // from the same moment
  absl::Status status;
  int64_t received_bytes = 0;
  std::optional<double> memory_ratio;  // measured peak / estimated peak
  bool due_in_time = true;             // in the measured time, and not in the warm-up
  bool ended_in_time = true;           // the same of its end
};

// Sums over samples: throughput of those that ended in the measured time, all else of those that were due in
// it. Latencies, sequences and ratios are of those that succeeded.
struct LoadTotals {
  int64_t ended_requests = 0;  // in the measured time, and succeeded
  int64_t ended_sequences = 0;
  int64_t requests = 0;
  int64_t succeeded = 0;
  int64_t sequences = 0;
  int64_t received_bytes = 0;
  LatencyHistogram latency;
  LatencyHistogram first_event;
  std::vector<double> memory_ratios;
  std::map<std::string, int64_t> outcomes;  // by code and reason: `OK`, `RESOURCE_EXHAUSTED QUEUE_FULL`

  void Add(const LoadSample& sample);
};

struct LoadReport {
  std::string model;
  std::string loop;        // `closed, 8 clients` or `open, 50/s`
  double seconds = 0;      // measured
  double all_seconds = 0;  // from the end of the warm-up to the end of the last request
  LoadTotals all;
  std::vector<std::pair<std::string, LoadTotals>> shapes;  // by name
  absl::Status first_error;

  void Add(const LoadSample& sample);
};

// Returns the smallest value that at least the share `q` of the values does not exceed; nothing if there are
// none. REQUIRES: 0 < q <= 1.
std::optional<double> QuantileOf(std::vector<double> values, double q);

// Tables for people, at most `width` columns; or an object in JSON, which docs/cli.md describes.
std::string LoadText(const LoadReport& report, int width);
std::string LoadJson(const LoadReport& report);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_LOAD_REPORT_H_
