#include "client/cli/load_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "attribution/status_details.h"

namespace attribution::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

LoadSample Sample(size_t shape, double seconds) {
  LoadSample sample;
  sample.shape = shape;
  sample.sequences = 2;
  sample.latency = absl::Seconds(seconds);
  sample.first_event = absl::Seconds(seconds / 2);
  sample.received_bytes = 100;
  sample.memory_ratio = seconds;
  return sample;
}

LoadReport SomeReport() {
  LoadReport report;
  report.model = "minilm";
  report.loop = "closed, 2 client(s)";
  report.seconds = 4;
  report.shapes = {{"1x16", {}}, {"2x8", {}}};
  report.Add(Sample(0, 0.5));
  report.Add(Sample(1, 1));
  LoadSample refused = Sample(1, 100);
  refused.status = WithReason(absl::ResourceExhaustedError("Queue is full."), "QUEUE_FULL");
  report.Add(refused);
  return report;
}

TEST(LoadReportTest, FailuresCountButDoNotMeasure) {
  const LoadReport report = SomeReport();
  EXPECT_EQ(report.all.requests, 3);
  EXPECT_EQ(report.all.succeeded, 2);
  EXPECT_EQ(report.all.sequences, 4);
  EXPECT_EQ(report.all.received_bytes, 300);
  EXPECT_EQ(report.all.latency.max(), 1);
  EXPECT_EQ(report.all.outcomes.at("OK"), 2);
  EXPECT_EQ(report.all.outcomes.at("RESOURCE_EXHAUSTED QUEUE_FULL"), 1);
  EXPECT_EQ(report.shapes[0].second.requests, 1);
  EXPECT_EQ(report.shapes[1].second.requests, 2);
  EXPECT_EQ(report.first_error.message(), "Queue is full.");
}

TEST(LoadReportTest, ThroughputIsOfWhatEndedInTimeAndLatencyOfWhatWasDue) {
  LoadReport report;
  report.seconds = 2;
  report.shapes = {{"1x16", {}}};
  LoadSample from_warm_up = Sample(0, 50);
  from_warm_up.due_in_time = false;
  report.Add(from_warm_up);
  LoadSample late = Sample(0, 1);
  late.ended_in_time = false;
  report.Add(late);
  EXPECT_EQ(report.all.ended_requests, 1);
  EXPECT_EQ(report.all.ended_sequences, 2);
  EXPECT_EQ(report.all.requests, 1);
  EXPECT_EQ(report.all.latency.max(), 1);
  EXPECT_EQ(nlohmann::json::parse(LoadJson(report))["requests_per_second"], 0.5);
}

TEST(LoadReportTest, QuantilesAreValuesThatCame) {
  EXPECT_EQ(QuantileOf({}, 0.5), std::nullopt);
  EXPECT_EQ(QuantileOf({3, 1, 2, 4}, 0.5), 2);
  EXPECT_EQ(QuantileOf({3, 1, 2, 4}, 0.75), 3);
  EXPECT_EQ(QuantileOf({3, 1, 2, 4}, 1), 4);
  EXPECT_EQ(QuantileOf({3, 1, 2, 4}, 0.01), 1);
}

TEST(LoadReportTest, WritesJson) {
  const nlohmann::json json = nlohmann::json::parse(LoadJson(SomeReport()));
  EXPECT_EQ(json["requests"], 3);
  EXPECT_EQ(json["requests_per_second"], 0.5);
  EXPECT_EQ(json["sequences_per_second"], 1);
  EXPECT_EQ(json["latency_seconds"]["max"], 1);
  EXPECT_NEAR(json["latency_seconds"]["p50"].get<double>(), 0.5, 0.005);
  EXPECT_NEAR(json["first_event_seconds"]["p50"].get<double>(), 0.25, 0.0025);
  EXPECT_EQ(json["memory_ratio"]["max"], 1);
  EXPECT_EQ(json["outcomes"]["RESOURCE_EXHAUSTED QUEUE_FULL"], 1);
  EXPECT_EQ(json["shapes"]["2x8"]["requests"], 2);
  int64_t counted = 0;
  for (const auto& bucket : json["latency_histogram"]) counted += bucket["count"].get<int64_t>();
  EXPECT_EQ(counted, 2);
}

TEST(LoadReportTest, WritesTables) {
  const std::string text = LoadText(SomeReport(), 200);
  EXPECT_THAT(text, HasSubstr("minilm; closed, 2 client(s) loop"));
  EXPECT_THAT(text, HasSubstr("2x8"));
  EXPECT_THAT(text, HasSubstr("RESOURCE_EXHAUSTED QUEUE_FULL: 1"));
  EXPECT_THAT(text, HasSubstr("p50 0.50"));
}

TEST(LoadReportTest, NothingThatSucceededIsToldWithoutNumbers) {
  LoadReport report = SomeReport();
  report.all = {};
  LoadSample failed = Sample(0, 1);
  failed.status = absl::NotFoundError("No such model.");
  report.Add(failed);
  EXPECT_THAT(LoadText(report, 80), Not(HasSubstr("nan")));
  EXPECT_TRUE(nlohmann::json::parse(LoadJson(report))["latency_seconds"].is_null());
}

}  // namespace
}  // namespace attribution::cli
