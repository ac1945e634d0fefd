#include "server/telemetry/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <sstream>
#include <thread>
#include <vector>

namespace attribution::telemetry {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

BuildInfo TestBuild() { return {"1.2.3", "2.13.0"}; }

// Whether `text` holds exactly this line.
bool HasLine(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST(MetricsTest, ClosedFamiliesAreThereFromTheStart) {
  const std::string text = Metrics(TestBuild()).Text();
  EXPECT_TRUE(HasLine(text, R"(attribution_requests_total{outcome="ok"} 0)")) << text;
  EXPECT_TRUE(HasLine(text, R"(attribution_requests_total{outcome="resource_exhausted"} 0)"));
  EXPECT_TRUE(
      HasLine(text, R"(attribution_admission_decisions_total{decision="refused",reason="never_fits"} 0)"));
  EXPECT_TRUE(HasLine(text, R"(attribution_build_info{torch_version="2.13.0",version="1.2.3"} 1)"));
}

TEST(MetricsTest, EveryFamilyIsNamedFromTheStart) {
  const std::string text = Metrics(TestBuild()).Text();
  for (const MetricDefinition& metric : MetricTable()) {
    EXPECT_THAT(text, HasSubstr(std::string("# TYPE ") + metric.name + " ")) << metric.name;
  }
}

TEST(MetricsTest, WrongCallsCountNothing) {
  Metrics metrics(TestBuild());
  const std::string before = metrics.Text();
  testing::internal::CaptureStderr();
  metrics.Add(MetricId::kRequests, {});
  metrics.Add(MetricId::kChunks, {"one label"});
  metrics.Observe(MetricId::kRequests, {"ok"}, 1);
  metrics.Set(MetricId::kQueueSeconds, {}, 1);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("metric=attribution_queue_seconds"));
  EXPECT_EQ(metrics.Text(), before);
}

TEST(MetricsTest, EveryFamilyIsThereAtZeroOnceItsLabelsAreDeclared) {
  Metrics metrics(TestBuild());
  metrics.DeclareDevice("cpu");
  metrics.DeclareModel("minilm", "1", "cpu");
  metrics.DeclareMethod("server_stream", "attribution.v1.AttributionService", "Attribute");
  const std::string text = metrics.Text();
  for (const MetricDefinition& metric : MetricTable()) {
    const char* type = metric.type == MetricType::kCounter ? "counter"
                       : metric.type == MetricType::kGauge ? "gauge"
                                                           : "histogram";
    EXPECT_TRUE(HasLine(text, std::string("# TYPE ") + metric.name + " " + type)) << metric.name;
    EXPECT_TRUE(HasLine(text, std::string("# HELP ") + metric.name + " " + metric.help)) << metric.name;
  }
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("#") || line.starts_with("attribution_build_info")) continue;
    EXPECT_TRUE(line.ends_with(" 0")) << line;
  }
}

TEST(MetricsTest, DeclaringAgainKeepsWhatWasCounted) {
  Metrics metrics(TestBuild());
  metrics.DeclareModel("minilm", "1", "cpu");
  metrics.Add(MetricId::kChunks, {"minilm", "1", "cpu"}, 3);
  metrics.DeclareModel("minilm", "1", "cpu");
  EXPECT_TRUE(
      HasLine(metrics.Text(), R"(attribution_chunks_total{device="cpu",model="minilm",version="1"} 3)"));
}

TEST(MetricsTest, LabelValuesGoToTheirNames) {
  Metrics metrics(TestBuild());
  metrics.Add(MetricId::kGrpcHandled, {"unary", "a.B", "C", "NotFound"});
  EXPECT_TRUE(HasLine(
      metrics.Text(),
      R"(grpc_server_handled_total{grpc_code="NotFound",grpc_method="C",grpc_service="a.B",grpc_type="unary"} 1)"));
}

TEST(MetricsTest, GaugesAreSetAndAddedTo) {
  Metrics metrics(TestBuild());
  metrics.Set(MetricId::kMemoryReservedBytes, {"cpu"}, 4096);
  metrics.Add(MetricId::kWorkersBusy, {"cpu"}, 1);
  metrics.Add(MetricId::kWorkersBusy, {"cpu"}, 1);
  metrics.Add(MetricId::kWorkersBusy, {"cpu"}, -1);
  EXPECT_TRUE(HasLine(metrics.Text(), R"(attribution_memory_reserved_bytes{device="cpu"} 4096)"));
  EXPECT_TRUE(HasLine(metrics.Text(), R"(attribution_workers_busy{device="cpu"} 1)"));
}

TEST(MetricsTest, HistogramsAreCumulative) {
  Metrics metrics(TestBuild());
  for (const double sequences : {1.0, 3.0, 3.0, 10000.0}) {
    metrics.Observe(MetricId::kChunkSize, {"minilm", "1", "cpu"}, sequences);
  }
  const std::string text = metrics.Text();
  const std::string labels = R"({device="cpu",model="minilm",version="1")";
  EXPECT_TRUE(HasLine(text, "attribution_chunk_size_bucket" + labels + R"(,le="2"} 1)")) << text;
  EXPECT_TRUE(HasLine(text, "attribution_chunk_size_bucket" + labels + R"(,le="4"} 3)"));
  EXPECT_TRUE(HasLine(text, "attribution_chunk_size_bucket" + labels + R"(,le="+Inf"} 4)"));
  EXPECT_TRUE(HasLine(text, "attribution_chunk_size_sum" + labels + "} 10007"));
  EXPECT_TRUE(HasLine(text, "attribution_chunk_size_count" + labels + "} 4"));
}

TEST(MetricsTest, NanIsNoObservation) {
  Metrics metrics(TestBuild());
  metrics.DeclareModel("minilm", "1", "cpu");
  metrics.Observe(MetricId::kRolloutEntropy, {"minilm", "1", "cpu"},
                  std::numeric_limits<double>::quiet_NaN());
  EXPECT_TRUE(HasLine(metrics.Text(),
                      R"(attribution_rollout_entropy_count{device="cpu",model="minilm",version="1"} 0)"));
}

TEST(MetricsTest, HasNoSummaries) {
  Metrics metrics(TestBuild());
  metrics.DeclareModel("minilm", "1", "cpu");
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("summary")));
}

TEST(MetricsTest, ThreadsLoseNothing) {
  Metrics metrics(TestBuild());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&metrics] {
      for (int k = 0; k < 500; ++k) metrics.Add(MetricId::kChunks, {"model", k % 2 == 0 ? "1" : "2", "cpu"});
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(
      HasLine(metrics.Text(), R"(attribution_chunks_total{device="cpu",model="model",version="1"} 1000)"));
  EXPECT_TRUE(
      HasLine(metrics.Text(), R"(attribution_chunks_total{device="cpu",model="model",version="2"} 1000)"));
}

}  // namespace
}  // namespace attribution::telemetry
