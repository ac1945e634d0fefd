#include "client/cli/metric_rows.h"

#include "absl/strings/str_cat.h"
#include "client/cli/format.h"

namespace attribution::cli {

const std::array<MetricRow, 8>& MetricRows() {
  static constexpr std::array<MetricRow, 8> kRows = {{
      {"mean_attention", [](const Metrics& metrics) { return FormatValue(metrics.mean_attention); }},
      {"max_attention", [](const Metrics& metrics) { return FormatValue(metrics.max_attention); }},
      {"attention_entropy", [](const Metrics& metrics) { return FormatValue(metrics.attention_entropy); }},
      {"attention_concentration",
       [](const Metrics& metrics) { return FormatValue(metrics.attention_concentration); }},
      {"rollout_max", [](const Metrics& metrics) { return FormatValue(metrics.rollout_max); }},
      {"rollout_entropy", [](const Metrics& metrics) { return FormatValue(metrics.rollout_entropy); }},
      {"batch_size", [](const Metrics& metrics) { return absl::StrCat(metrics.batch_size); }},
      {"seq_length", [](const Metrics& metrics) { return absl::StrCat(metrics.seq_length); }},
  }};
  return kRows;
}

}  // namespace attribution::cli
