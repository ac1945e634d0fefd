// The eight metrics by name, in the order in which they are shown everywhere.
#ifndef ATTRIBUTION_CLIENT_CLI_METRIC_ROWS_H_
#define ATTRIBUTION_CLIENT_CLI_METRIC_ROWS_H_

#include <array>
#include <string>

#include "attribution/events.h"

namespace attribution::cli {

struct MetricRow {
  const char* name;
  // Value for people; `-` if absent.
  std::string (*text)(const Metrics& metrics);
};

const std::array<MetricRow, 8>& MetricRows();

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_METRIC_ROWS_H_
