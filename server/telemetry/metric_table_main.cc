// Prints the table of metrics as JSON. docs/metrics.md and the dashboard are made of it, so that names cannot
// drift.
#include <cstdio>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "server/telemetry/metric_table.h"

namespace {

using attribution::telemetry::MetricType;

const char* NameOf(MetricType type) {
  switch (type) {
    case MetricType::kCounter:
      return "counter";
    case MetricType::kGauge:
      return "gauge";
    case MetricType::kHistogram:
      return "histogram";
  }
  return "";
}

}  // namespace

int main() {
  nlohmann::ordered_json table = nlohmann::ordered_json::array();
  for (const auto& family : attribution::telemetry::MetricTable()) {
    const auto labels = attribution::telemetry::LabelNames(family.labels);
    const std::vector<std::string> label_names(labels.begin(), labels.end());
    const std::vector<double> buckets(family.buckets.begin(), family.buckets.end());
    table.push_back({{"name", family.name},
                     {"type", NameOf(family.type)},
                     {"labels", label_names},
                     {"buckets", buckets},
                     {"help", family.help}});
  }
  std::puts(table.dump(2).c_str());
}
