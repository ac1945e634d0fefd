#include "server/telemetry/metric_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <string>
#include <vector>

#include "server/telemetry/label_values.h"

namespace attribution::telemetry {
namespace {

bool IsName(const std::string& name) {
  const auto is_letter = [](unsigned char c) { return std::islower(c) || c == '_'; };
  return !name.empty() && is_letter(name[0]) && std::all_of(name.begin(), name.end(), [&](unsigned char c) {
    return is_letter(c) || std::isdigit(c);
  });
}

TEST(MetricTableTest, NamesAreUniqueAndWellFormed) {
  std::set<std::string> names;
  for (const MetricDefinition& metric : MetricTable()) {
    EXPECT_TRUE(IsName(metric.name)) << metric.name;
    EXPECT_TRUE(names.insert(metric.name).second) << metric.name;
  }
  EXPECT_EQ(names.size(), MetricTable().size());
}

TEST(MetricTableTest, NamesBeginWithAKnownPrefix) {
  for (const MetricDefinition& metric : MetricTable()) {
    const std::string name = metric.name;
    EXPECT_TRUE(name.starts_with("attribution_") || name.starts_with("grpc_server_")) << name;
  }
}

TEST(MetricTableTest, ExactlyTheCountersEndInTotal) {
  for (const MetricDefinition& metric : MetricTable()) {
    EXPECT_EQ(std::string(metric.name).ends_with("_total"), metric.type == MetricType::kCounter)
        << metric.name;
  }
}

TEST(MetricTableTest, NamesUseBaseUnitsAndNoSuffixOfHistograms) {
  for (const MetricDefinition& metric : MetricTable()) {
    const std::string name = metric.name;
    for (const char* part :
         {"_ms", "_millis", "_mb", "_kib", "_mib", "_percent", "_count", "_sum", "_bucket"}) {
      EXPECT_FALSE(name.ends_with(part)) << name;
    }
  }
}

TEST(MetricTableTest, HelpIsOneSentence) {
  for (const MetricDefinition& metric : MetricTable()) {
    EXPECT_TRUE(std::string(metric.help).ends_with(".")) << metric.name;
    EXPECT_EQ(std::string(metric.help).find('\n'), std::string::npos) << metric.name;
  }
}

TEST(MetricTableTest, ExactlyTheHistogramsHaveRisingBuckets) {
  for (const MetricDefinition& metric : MetricTable()) {
    EXPECT_EQ(!metric.buckets.empty(), metric.type == MetricType::kHistogram) << metric.name;
    EXPECT_TRUE(std::is_sorted(metric.buckets.begin(), metric.buckets.end(), std::less_equal<double>()))
        << metric.name;
  }
}

TEST(MetricTableTest, SecondsReachFiveMinutes) {
  for (const MetricDefinition& metric : MetricTable()) {
    if (!std::string(metric.name).ends_with("_seconds") || metric.type != MetricType::kHistogram) continue;
    EXPECT_EQ(metric.buckets.back(), 300) << metric.name;
  }
}

TEST(MetricTableTest, LabelsAreWellFormedAndOfClosedSets) {
  const std::set<std::string> allowed = {"model",       "version",   "device",       "decision",
                                         "reason",      "outcome",   "grpc_type",    "grpc_service",
                                         "grpc_method", "grpc_code", "torch_version"};
  for (const MetricDefinition& metric : MetricTable()) {
    for (const char* label : LabelNames(metric.labels))
      EXPECT_TRUE(allowed.contains(label)) << metric.name << label;
  }
}

TEST(MetricTableTest, ServerFamiliesAreThoseOfGoGrpcMiddleware) {
  const auto labels = [](MetricId id) {
    const auto names = LabelNames(DefinitionOf(id).labels);
    return std::vector<std::string>(names.begin(), names.end());
  };
  const std::vector<std::string> method = {"grpc_type", "grpc_service", "grpc_method"};
  EXPECT_STREQ(DefinitionOf(MetricId::kGrpcStarted).name, "grpc_server_started_total");
  EXPECT_EQ(labels(MetricId::kGrpcStarted), method);
  EXPECT_STREQ(DefinitionOf(MetricId::kGrpcMessagesReceived).name, "grpc_server_msg_received_total");
  EXPECT_EQ(labels(MetricId::kGrpcMessagesReceived), method);
  EXPECT_STREQ(DefinitionOf(MetricId::kGrpcMessagesSent).name, "grpc_server_msg_sent_total");
  EXPECT_EQ(labels(MetricId::kGrpcMessagesSent), method);
  EXPECT_STREQ(DefinitionOf(MetricId::kGrpcHandlingSeconds).name, "grpc_server_handling_seconds");
  EXPECT_EQ(labels(MetricId::kGrpcHandlingSeconds), method);
  EXPECT_STREQ(DefinitionOf(MetricId::kGrpcHandled).name, "grpc_server_handled_total");
  EXPECT_EQ(labels(MetricId::kGrpcHandled),
            (std::vector<std::string>{"grpc_type", "grpc_service", "grpc_method", "grpc_code"}));
}

TEST(LabelValuesTest, CodesAreNamedByNumber) {
  EXPECT_STREQ(GrpcCodeName(0), "OK");
  EXPECT_STREQ(GrpcCodeName(1), "Canceled");
  EXPECT_STREQ(GrpcCodeName(8), "ResourceExhausted");
  EXPECT_STREQ(GrpcCodeName(16), "Unauthenticated");
  EXPECT_STREQ(OutcomeName(9), "failed_precondition");
  EXPECT_STREQ(OutcomeName(99), "unknown");
  EXPECT_STREQ(GrpcCodeName(-1), "Unknown");
}

}  // namespace
}  // namespace attribution::telemetry
