#include "client/cli/load_report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "attribution/status_details.h"
#include "client/cli/display_width.h"
#include "client/cli/format.h"
#include "client/cli/table.h"

namespace attribution::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kBarWidth = 40;

std::string OutcomeOf(const absl::Status& status) {
  const std::string code = absl::StatusCodeToString(status.code());
  const std::optional<std::string> reason = ReasonOf(status);
  return reason.has_value() ? absl::StrCat(code, " ", *reason) : code;
}

double PerSecond(int64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

std::string Seconds(const LatencyHistogram& histogram, double q) {
  return histogram.count() == 0 ? "-" : FormatSeconds(histogram.Quantile(q));
}

std::string ShapesTable(const LoadReport& report, int width) {
  Table table({{"shape"},
               {"requests"},
               {"ok"},
               {"requests/s"},
               {"sequences/s"},
               {"p50"},
               {"p90"},
               {"p95"},
               {"p99"},
               {"max"},
               {"first event p50"},
               {"p99"}});
  const auto row = [&](const std::string& name, const LoadTotals& totals) {
    table.AddRow({name, absl::StrCat(totals.requests), absl::StrCat(totals.succeeded),
                  absl::StrFormat("%.1f", PerSecond(totals.ended_requests, report.seconds)),
                  absl::StrFormat("%.1f", PerSecond(totals.ended_sequences, report.seconds)),
                  Seconds(totals.latency, 0.5), Seconds(totals.latency, 0.9), Seconds(totals.latency, 0.95),
                  Seconds(totals.latency, 0.99), Seconds(totals.latency, 1), Seconds(totals.first_event, 0.5),
                  Seconds(totals.first_event, 0.99)});
  };
  row("all", report.all);
  if (report.shapes.size() > 1) {
    for (const auto& [name, totals] : report.shapes) row(name, totals);
  }
  return table.Render(width);
}

std::string HistogramText(const LatencyHistogram& latency) {
  std::string text;
  const std::vector<LatencyHistogram::Bucket> buckets = latency.PowersOfTwo();
  int64_t largest = 1;
  for (const LatencyHistogram::Bucket& bucket : buckets) largest = std::max(largest, bucket.count);
  for (const LatencyHistogram::Bucket& bucket : buckets) {
    const auto bar = static_cast<size_t>(kBarWidth * bucket.count / largest);
    absl::StrAppend(&text, absl::StrFormat("  to %8s  %8d  %s\n", FormatSeconds(bucket.upper_seconds),
                                           bucket.count, std::string(bar, '#')));
  }
  return text;
}

Json Quantiles(const LatencyHistogram& histogram) {
  if (histogram.count() == 0) return nullptr;
  return {{"mean", histogram.mean()},        {"p50", histogram.Quantile(0.5)},
          {"p90", histogram.Quantile(0.9)},  {"p95", histogram.Quantile(0.95)},
          {"p99", histogram.Quantile(0.99)}, {"max", histogram.max()}};
}

Json Quantiles(const std::vector<double>& values) {
  if (values.empty()) return nullptr;
  return {{"min", *std::min_element(values.begin(), values.end())},
          {"p50", *QuantileOf(values, 0.5)},
          {"p90", *QuantileOf(values, 0.9)},
          {"p99", *QuantileOf(values, 0.99)},
          {"max", *QuantileOf(values, 1)}};
}

Json Object(const LoadTotals& totals, double seconds) {
  Json buckets = Json::array();
  for (const LatencyHistogram::Bucket& bucket : totals.latency.PowersOfTwo())
    buckets.push_back({{"upper_seconds", bucket.upper_seconds}, {"count", bucket.count}});
  return {{"requests", totals.requests},
          {"succeeded", totals.succeeded},
          {"sequences", totals.sequences},
          {"requests_per_second", PerSecond(totals.ended_requests, seconds)},
          {"sequences_per_second", PerSecond(totals.ended_sequences, seconds)},
          {"received_bytes", totals.received_bytes},
          {"latency_seconds", Quantiles(totals.latency)},
          {"latency_histogram", buckets},
          {"first_event_seconds", Quantiles(totals.first_event)},
          {"memory_ratio", Quantiles(totals.memory_ratios)},
          {"outcomes", totals.outcomes}};
}

}  // namespace

void LoadTotals::Add(const LoadSample& sample) {
  if (sample.ended_in_time && sample.status.ok()) {
    ++ended_requests;
    ended_sequences += sample.sequences;
  }
  if (!sample.due_in_time) return;
  ++requests;
  ++outcomes[OutcomeOf(sample.status)];
  received_bytes += sample.received_bytes;
  if (!sample.status.ok()) return;
  ++succeeded;
  sequences += sample.sequences;
  latency.Add(absl::ToDoubleSeconds(sample.latency));
  if (sample.first_event.has_value()) first_event.Add(absl::ToDoubleSeconds(*sample.first_event));
  if (sample.memory_ratio.has_value()) memory_ratios.push_back(*sample.memory_ratio);
}

void LoadReport::Add(const LoadSample& sample) {
  all.Add(sample);
  shapes[sample.shape].second.Add(sample);
  if (first_error.ok()) first_error = sample.status;
}

std::optional<double> QuantileOf(std::vector<double> values, double q) {
  if (values.empty()) return std::nullopt;
  const auto rank = static_cast<int64_t>(std::ceil(q * static_cast<double>(values.size())));
  const auto nth = values.begin() + std::max<int64_t>(rank, 1) - 1;
  std::nth_element(values.begin(), nth, values.end());
  return *nth;
}

std::string LoadText(const LoadReport& report, int width) {
  const LoadTotals& all = report.all;
  std::string text =
      absl::StrFormat("%s; %s loop; %s measured, last request after %s\n\n", Printable(report.model),
                      report.loop, FormatSeconds(report.seconds), FormatSeconds(report.all_seconds));
  absl::StrAppend(&text, ShapesTable(report, width));
  if (all.latency.count() > 0) absl::StrAppend(&text, "\nLatency\n", HistogramText(all.latency));
  absl::StrAppend(&text, "\nOutcomes\n");
  for (const auto& [outcome, count] : all.outcomes)
    absl::StrAppend(&text, "  ", Printable(outcome), ": ", count, "\n");
  absl::StrAppend(&text, "Received  ", FormatBytes(all.received_bytes), "\n");
  if (!all.memory_ratios.empty()) {
    absl::StrAppendFormat(&text, "Memory    measured / estimated peak: p50 %.2f, p99 %.2f, max %.2f\n",
                          *QuantileOf(all.memory_ratios, 0.5), *QuantileOf(all.memory_ratios, 0.99),
                          *QuantileOf(all.memory_ratios, 1));
  }
  return text;
}

std::string LoadJson(const LoadReport& report) {
  Json json = {{"model", report.model},
               {"loop", report.loop},
               {"seconds", report.seconds},
               {"all_seconds", report.all_seconds}};
  json.update(Object(report.all, report.seconds));
  Json shapes = Json::object();
  for (const auto& [name, totals] : report.shapes) shapes[name] = Object(totals, report.seconds);
  json["shapes"] = std::move(shapes);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace attribution::cli
