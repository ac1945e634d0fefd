#include "client/cli/json_output.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "tests/client/sample_reply.h"

namespace attribution::cli {
namespace {

using Json = nlohmann::json;

TEST(JsonOutputTest, HoldsMetricsOfBatchAndSequences) {
  const Json json = Json::parse(JsonOfReply(SampleReply(), true));
  EXPECT_EQ(json["metrics"]["batch_size"], 2);
  EXPECT_EQ(json["sequences"].size(), 2u);
  EXPECT_EQ(json["sequences"][0]["text"], "a <b>");
  EXPECT_EQ(json["sequences"][1]["metrics"]["attention_entropy"], 0.25);
  EXPECT_EQ(json["layers"][0]["module_path"], "encoder.0");
  EXPECT_EQ(json["memory"]["measured_peak_bytes"], 1024);
}

TEST(JsonOutputTest, WritesFloatsWithTheirOwnDigits) {
  const std::string text = JsonOfReply(SampleReply(), true);
  EXPECT_EQ(Json::parse(text)["sequences"][0]["rollout"][1], Json({0.1, 0.9}));
  EXPECT_EQ(text.find("0.100000001"), std::string::npos);
}

TEST(JsonOutputTest, AbsentMetricsAreNull) {
  const Json json = Json::parse(JsonOfReply(SampleReply(), true));
  EXPECT_TRUE(json["metrics"].contains("rollout_max"));
  EXPECT_TRUE(json["metrics"]["rollout_max"].is_null());
}

TEST(JsonOutputTest, NanIsNull) {
  Reply reply = SampleReply();
  reply.result.metrics.mean_attention = std::numeric_limits<double>::quiet_NaN();
  reply.rollouts[1].rows[0] = {std::numeric_limits<float>::infinity()};
  const Json json = Json::parse(JsonOfReply(reply, true));
  EXPECT_TRUE(json["metrics"]["mean_attention"].is_null());
  EXPECT_TRUE(json["sequences"][1]["rollout"][0][0].is_null());
}

TEST(JsonOutputTest, LeavesTheRolloutOutOnRequest) {
  EXPECT_FALSE(Json::parse(JsonOfReply(SampleReply(), false))["sequences"][0].contains("rollout"));
}

TEST(JsonOutputTest, ReplacesBrokenUtf8) {
  Reply reply = SampleReply();
  reply.texts[0] = "a\xFF";
  EXPECT_EQ(Json::parse(JsonOfReply(reply, true))["sequences"][0]["text"], "a\uFFFD");
}

TEST(JsonOutputTest, ModelsAreAListOfObjects) {
  ModelInfo model;
  model.name = "tiny";
  model.state = ModelState::kFailed;
  model.load_error = "No attention.";
  model.inputs = {{.name = "input_ids", .dtype = TensorDtype::kInt64, .shape = {-1, -1}}};
  const Json json = Json::parse(JsonOfModels({model}));
  EXPECT_EQ(json["models"][0]["state"], "failed");
  EXPECT_EQ(json["models"][0]["inputs"][0]["shape"], Json({-1, -1}));
}

}  // namespace
}  // namespace attribution::cli
