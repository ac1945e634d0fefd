// Requests of named tensors, checked against their model.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "attribution/status_details.h"
#include "server/engine/chunk_batch.h"
#include "server/engine/plan_request.h"
#include "server/engine/request_intake.h"
#include "tests/models/fake_runner.h"

namespace attribution::engine {
namespace {

using capture::InputRole;
using capture::LengthRule;
using capture::RunnerInput;
using testing::ElementsAre;
using testing::HasSubstr;

std::shared_ptr<const models::ResidentModel> ModelOf(capture::ModelDescription description) {
  auto model = std::make_shared<models::ResidentModel>();
  model->name = "small";
  model->runner = std::make_unique<models::FakeRunner>(std::move(description));
  return model;
}

// Features [B, n, 2] and a mask; site 0 has n positions, site 1 ceil(n / 2).
capture::ModelDescription FeaturesModel() {
  capture::ModelDescription description = models::ThreeLayers();
  description.inputs = {{"features", InputRole::kOther, TensorDtype::kFloat32, {-1, -1, 2}},
                        {"attention_mask", InputRole::kAttentionMask, TensorDtype::kInt64, {-1, -1}}};
  description.sites = {AttentionSite{0, "whole", SiteKind::kBlocked, "softmax", 1},
                       AttentionSite{1, "half", SiteKind::kBlocked, "softmax", 1}};
  description.site_heads = {4, 2};
  description.site_lengths = {LengthRule{}, LengthRule{.slope = 1, .offset = 1, .divisor = 2}};
  description.execution_order = {0, 1};
  return description;
}

// Images [B, 1, 2, 2] that become 5 positions.
capture::ModelDescription ImageModel() {
  capture::ModelDescription description = FeaturesModel();
  description.inputs = {{"pixel_values", InputRole::kOther, TensorDtype::kFloat32, {-1, 1, 2, 2}}};
  description.site_lengths = {LengthRule{.slope = 0, .offset = 5}, LengthRule{.slope = 0, .offset = 5}};
  return description;
}

template <typename T>
NamedTensor Named(const std::string& name, TensorDtype dtype, std::vector<int64_t> shape,
                  std::vector<T> values) {
  return {name, dtype, std::move(shape),
          std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T))};
}

NamedTensor Features(int64_t batch, int64_t length) {
  std::vector<float> values(batch * length * 2);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return Named<float>("features", TensorDtype::kFloat32, {batch, length, 2}, values);
}

NamedTensor Mask(std::vector<int64_t> values, int64_t batch) {
  const auto length = static_cast<int64_t>(values.size()) / batch;
  return Named<int64_t>("attention_mask", TensorDtype::kInt64, {batch, length}, std::move(values));
}

AttributionRequest Request(std::vector<NamedTensor> tensors, const std::string& pattern = "whole") {
  AttributionRequest request;
  request.model = "small";
  request.input = TensorBatch{std::move(tensors)};
  request.options.attention_layer_pattern = pattern;
  return request;
}

absl::StatusOr<PreparedRequest> Prepare(AttributionRequest request,
                                        capture::ModelDescription description = FeaturesModel(),
                                        const RequestLimits& limits = {}) {
  return PrepareRequest(std::move(request), limits, ModelOf(std::move(description)));
}

void ExpectInvalid(const absl::Status& status, const std::string& field, const std::string& sentence) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(FieldOf(status), field);
  EXPECT_THAT(std::string(status.message()), HasSubstr(sentence));
}

TEST(TensorRequestTest, TensorsComeInTheOrderOfForward) {
  const auto prepared = Prepare(Request({Mask({1, 1, 0, 1, 0, 1}, 2), Features(2, 3)}));
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  ASSERT_TRUE(prepared->tensors.has_value());
  EXPECT_EQ(prepared->num_sequences(), 2);
  EXPECT_EQ(prepared->LengthOf(1), 3);
  EXPECT_THAT(prepared->MaskOf(0), ElementsAre(1, 1, 0));
  EXPECT_THAT(prepared->MaskOf(1), ElementsAre(1, 0, 1));
  EXPECT_TRUE(prepared->tensors->tensors[0].equal(at::arange(12, at::kFloat).view({2, 3, 2})));
  EXPECT_EQ(prepared->tensors->tensors[1].scalar_type(), at::kLong);
  EXPECT_EQ(prepared->tensors->bytes, 12 * 4 + 6 * 8);
}

TEST(TensorRequestTest, MaskOfAnotherLengthThanTheAttentionSaysNothing) {
  const auto prepared = Prepare(Request({Mask({1, 1, 0, 1, 0, 1}, 2), Features(2, 3)}, "half"));
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_EQ(prepared->LengthOf(0), 2);
  EXPECT_TRUE(prepared->MaskOf(0).empty());
}

TEST(TensorRequestTest, LayersThatDifferInLength) {
  const auto prepared = Prepare(Request({Features(1, 3), Mask({1, 1, 1}, 1)}, ""));
  ExpectInvalid(prepared.status(), "options.attention_layer_pattern",
                "layer 0 (whole) is [B, 4, 3, 3], layer 1 (half) is [B, 2, 2, 2]");
  EXPECT_TRUE(Prepare(Request({Features(1, 1), Mask({1}, 1)}, "")).ok());  // one position each
}

TEST(TensorRequestTest, ChunksShareTheTensors) {
  const auto prepared = Prepare(Request({Features(3, 2), Mask({1, 1, 1, 0, 1, 1}, 3)}));
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  const auto batch = MakeChunkBatch(*prepared->tensors, 1, 2);
  ASSERT_EQ(batch.size(), 2);
  EXPECT_TRUE(batch[0].equal(at::arange(4, 12, at::kFloat).view({2, 2, 2})));
  EXPECT_TRUE(batch[1].equal(at::tensor({1, 0, 1, 1}, at::kLong).view({2, 2})));
  EXPECT_EQ(batch[0].storage().data(), prepared->tensors->tensors[0].storage().data());
}

TEST(TensorRequestTest, PlanCountsByTheAttentionsLength) {
  capture::ModelDescription description = FeaturesModel();
  description.activation_cost.ranges = {
      {.forward = {.bytes_per_token = 100, .bytes_per_cell = 10, .fixed_bytes = 7},
       .attention = {.bytes_per_token = 3, .bytes_per_position = 4, .bytes_per_square = 5}}};
  const auto half =
      Prepare(Request({Features(2, 4), Mask(std::vector<int64_t>(8, 1), 2)}, "half"), description);
  ASSERT_TRUE(half.ok()) << half.status();
  const admission::PlanRequest plan = MakePlanRequest(*half, 128);
  EXPECT_THAT(plan.lengths, ElementsAre(2, 2));
  ASSERT_EQ(plan.cost.ranges.size(), 1);
  EXPECT_DOUBLE_EQ(plan.cost.ranges[0].forward.bytes_per_token, 1.03 * 200);
  EXPECT_DOUBLE_EQ(plan.cost.ranges[0].forward.bytes_per_cell, 1.03 * 40);
  EXPECT_DOUBLE_EQ(plan.cost.ranges[0].forward.fixed_bytes, 1.03 * 7 + 512);
  EXPECT_DOUBLE_EQ(plan.cost.ranges[0].attention.bytes_per_token, 1.03 * 6);
  EXPECT_DOUBLE_EQ(plan.cost.ranges[0].attention.bytes_per_position, 1.03 * 8);
  EXPECT_DOUBLE_EQ(plan.cost.ranges[0].attention.bytes_per_square, 1.03 * 20);
}

TEST(TensorRequestTest, FixedSizesTellNoLength) {
  const auto prepared = Prepare(
      Request({Named<float>("pixel_values", TensorDtype::kFloat32, {2, 1, 2, 2}, std::vector<float>(8, 1))},
              ""),
      ImageModel());
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_EQ(prepared->LengthOf(0), 5);
  EXPECT_TRUE(prepared->MaskOf(0).empty());
  EXPECT_EQ(MakePlanRequest(*prepared, 128).lengths, (std::vector<int64_t>{5, 5}));
}

TEST(TensorRequestTest, ServersLimits) {
  const auto prepare = [](const RequestLimits& limits) {
    return Prepare(Request({Features(3, 4), Mask(std::vector<int64_t>(12, 1), 3)}), FeaturesModel(), limits)
        .status();
  };
  EXPECT_TRUE(prepare({.max_sequences = 3, .max_sequence_length = 4}).ok());
  ExpectInvalid(prepare({.max_sequences = 2}), "tensors.tensors[0].shape", "dimension 0 must be at most 2");
  ExpectInvalid(prepare({.max_sequence_length = 3}), "tensors.tensors[0].shape",
                "dimension 1 must be at most 3");
  ExpectInvalid(Prepare(Request({Named<float>("pixel_values", TensorDtype::kFloat32, {1, 1, 2, 2},
                                              std::vector<float>(4, 1))},
                                ""),
                        ImageModel(), {.max_sequence_length = 4})
                    .status(),
                "tensors", "It has 5 positions; at most 4");
}

TEST(TensorRequestTest, ShapesThatOverflow) {
  NamedTensor huge = Features(1, 1);
  huge.shape = {int64_t{1} << 31, int64_t{1} << 31, 2};
  capture::ModelDescription description = FeaturesModel();
  description.max_sequence_length = 0;
  RequestLimits limits;
  limits.max_sequences = std::numeric_limits<int32_t>::max();
  huge.shape[0] -= 1;
  ExpectInvalid(Prepare(Request({huge, Mask({1}, 1)}), description, limits).status(),
                "tensors.tensors[0].data", "more than there can be");
}

TEST(TensorRequestTest, ValuesAtFaultAreNamed) {
  NamedTensor features = Features(2, 3);
  const float infinite = -std::numeric_limits<float>::infinity();
  features.data.replace(7 * sizeof(float), sizeof(float), reinterpret_cast<const char*>(&infinite),
                        sizeof(float));
  ExpectInvalid(Prepare(Request({features, Mask(std::vector<int64_t>(6, 1), 2)})).status(),
                "tensors.tensors[0].data", "It is -inf at flat index 7 of \"features\"");
  ExpectInvalid(Prepare(Request({Features(2, 3), Mask({1, 1, 1, 1, -1, 1}, 2)})).status(),
                "tensors.tensors[1].data", "It is -1 at flat index 4");
  ExpectInvalid(Prepare(Request({Features(2, 3), Mask({1, 1, 1, 0, 0, 0}, 2)})).status(),
                "tensors.tensors[1].data", "in sequence 1");
}

TEST(TensorRequestTest, BoolsAreOneByteOfZeroOrOne) {
  capture::ModelDescription description = FeaturesModel();
  description.inputs[1].dtype = TensorDtype::kBool;
  const auto prepare = [&](const std::string& bytes) {
    return Prepare(Request({Features(1, 3), {"attention_mask", TensorDtype::kBool, {1, 3}, bytes}}),
                   description);
  };
  const auto prepared = prepare(std::string("\1\0\1", 3));
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_THAT(prepared->MaskOf(0), ElementsAre(1, 0, 1));
  ExpectInvalid(prepare("\1\2\1").status(), "tensors.tensors[1].data", "It is 2 at flat index 1");
}

TEST(TensorRequestTest, IdsOfAnyNameAreInTheVocabulary) {
  capture::ModelDescription description = FeaturesModel();
  description.inputs.push_back({"decoder_input_ids", InputRole::kOther, TensorDtype::kInt32, {-1, 2}});
  const auto prepare = [&](int32_t id) {
    return Prepare(Request({Features(1, 1), Mask({1}, 1),
                            Named<int32_t>("decoder_input_ids", TensorDtype::kInt32, {1, 2}, {0, id})}),
                   description)
        .status();
  };
  EXPECT_TRUE(prepare(99).ok());
  ExpectInvalid(prepare(100), "tensors.tensors[2].data", "It is 100 at flat index 1");
  ExpectInvalid(prepare(-1), "tensors.tensors[2].data", "in [0, 100)");
}

TEST(TensorRequestTest, TokensToAModelOfTensors) {
  AttributionRequest request = Request({});
  request.input = TokenBatch{{TokenSequence{{1, 2}, {}, {}}}};
  ExpectInvalid(Prepare(request).status(), "tokens",
                "features float32 [-1, -1, 2]; attention_mask int64 [-1, -1]");
  request.input = TextBatch{{"a"}, false};
  ExpectInvalid(Prepare(request).status(), "text", "The model takes tensors.");
  request.input = std::monostate();
  ExpectInvalid(Prepare(request).status(), "input", "The request has no input.");
}

TEST(TensorRequestTest, TensorsOfTokensBecomeSequences) {
  capture::ModelDescription description = models::ThreeLayers();
  description.inputs[1].name = "attention_mask";
  const auto prepared =
      Prepare(Request({Named<int32_t>("input_ids", TensorDtype::kInt32, {2, 3}, {1, 2, 3, 4, 5, 6}),
                       Mask({1, 1, 1, 1, 0, 0}, 2)},
                      ""),
              description);
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_FALSE(prepared->tensors.has_value());
  ASSERT_EQ(prepared->sequences.size(), 2);
  EXPECT_THAT(prepared->sequences[1].input_ids, ElementsAre(4, 5, 6));
  EXPECT_THAT(prepared->MaskOf(1), ElementsAre(1, 0, 0));
  ExpectInvalid(Prepare(Request({Mask({1}, 1)}, ""), description).status(), "tensors.tensors",
                "There is no \"input_ids\"");
}

}  // namespace
}  // namespace attribution::engine
