// Metrics counts what the server does, by the table of metric_table.h.
//
// Thread-safe. A call is a lookup under a shared lock and an atomic addition; a histogram takes a lock of its
// own. Fit for every chunk, not for every row.
#ifndef SERVER_TELEMETRY_METRICS_H_
#define SERVER_TELEMETRY_METRICS_H_

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/telemetry/metric_table.h"

namespace attribution::telemetry {

struct BuildInfo {
  std::string version;        // of this program
  std::string torch_version;  // of LibTorch
};

class Metrics {
 public:
  // Values of the labels, in the order of LabelNames(). They come from closed sets: never a request's id or
  // text, nor a model name that was not found in the repository.
  using Labels = std::initializer_list<std::string_view>;

  // Shows the families with closed label sets at 0, and attribution_build_info at 1.
  explicit Metrics(const BuildInfo& build);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // Make the families of a device, a model version and an RPC appear at 0. Idempotent: what was counted
  // stays. `type`: unary, client_stream, server_stream or bidi_stream; every code is made.
  void DeclareDevice(std::string_view device);
  void DeclareModel(std::string_view name, std::string_view version, std::string_view device);
  void DeclareMethod(std::string_view type, std::string_view service, std::string_view method);

  // Each of these REQUIRES as many labels as the family has, and a family of the named type. A call that
  // breaks this is logged as an error and counts nothing: a server does not die of its metrics.

  // Adds to a counter or a gauge. A counter ignores what is negative.
  void Add(MetricId id, Labels labels, double value = 1);

  // Sets a gauge.
  void Set(MetricId id, Labels labels, double value);

  // Adds one observation to a histogram, in the unit of its name; NaN is ignored.
  void Observe(MetricId id, Labels labels, double value);

  // Everything in Prometheus' text format 0.0.4; a family without children shows its HELP and TYPE.
  std::string Text() const;

 private:
  class Family;

  // The family, or null when it is a histogram and `is_histogram` is false or the other way round, or
  // `labels` are wrong.
  Family* Find(MetricId id, Labels labels, bool is_histogram);
  void Declare(LabelSet set, Labels labels);

  std::vector<std::unique_ptr<Family>> families_;  // by MetricId
};

}  // namespace attribution::telemetry

#endif  // SERVER_TELEMETRY_METRICS_H_
