#include "server/rollout/rollout_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "attribution/status_details.h"

namespace attribution::rollout {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int32_t kLayers = 6;
constexpr int32_t kHeads = 12;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

absl::Status StatusOf(const AttributionOptions& options) {
  return ResolveOptions(options, kLayers, kHeads).status();
}

void ExpectInvalid(const AttributionOptions& options, const std::string& field, const std::string& start) {
  const absl::Status status = StatusOf(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), StartsWith(start));
  EXPECT_EQ(FieldOf(status), field);
}

void ExpectNotBuilt(const AttributionOptions& options, const std::string& field, const std::string& name) {
  const absl::Status status = StatusOf(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
  EXPECT_THAT(std::string(status.message()), StartsWith(name + " is not built yet. "));
  EXPECT_EQ(FieldOf(status), field);
}

TEST(RolloutOptionsTest, FillsInDefaults) {
  const auto resolved = ResolveOptions({}, kLayers, kHeads);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->preset, Preset::kAbnar2020);
  EXPECT_EQ(resolved->layer_idx, 5);
  EXPECT_EQ(resolved->start_layer, 0);
  EXPECT_EQ(resolved->end_layer, 5);
  EXPECT_EQ(resolved->residual_weight, 0.5);
  EXPECT_EQ(resolved->head_fusion, HeadFusion::kMean);
  EXPECT_EQ(resolved->head, std::nullopt);
  EXPECT_EQ(resolved->discard_ratio, 0.0);
}

TEST(RolloutOptionsTest, KeepsWhatIsGiven) {
  AttributionOptions options;
  options.preset = Preset::kIclrMetrics;
  options.layer_idx = -6;
  options.start_layer = 1;
  options.end_layer = -2;
  options.residual_weight = 0.2;
  options.head_fusion = HeadFusion::kMax;
  options.head = 11;
  options.attention_layer_pattern = "encoder";
  options.max_chunk_size = 3;
  options.chunk_policy = ChunkPolicy::kReference;
  const auto resolved = ResolveOptions(options, kLayers, kHeads);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->preset, Preset::kIclrMetrics);
  EXPECT_EQ(resolved->layer_idx, 0);
  EXPECT_EQ(resolved->start_layer, 1);
  EXPECT_EQ(resolved->end_layer, 4);
  EXPECT_EQ(resolved->residual_weight, 0.2);
  EXPECT_EQ(resolved->head_fusion, HeadFusion::kMax);
  EXPECT_EQ(resolved->head, 11);
  EXPECT_EQ(resolved->attention_layer_pattern, "encoder");
  EXPECT_EQ(resolved->max_chunk_size, 3);
  EXPECT_EQ(resolved->chunk_policy, ChunkPolicy::kReference);
}

TEST(RolloutOptionsTest, TakesTheEndsOfEveryRange) {
  for (const double weight : {0.0, 1.0}) {
    AttributionOptions options;
    options.residual_weight = weight;
    options.discard_ratio = 0.0;
    options.start_layer = -kLayers;
    options.end_layer = -kLayers;
    options.layer_idx = kLayers - 1;
    options.head = 0;
    EXPECT_TRUE(StatusOf(options).ok()) << StatusOf(options);
  }
}

TEST(RolloutOptionsTest, RefusesResidualWeightOutOfRange) {
  for (const double weight : {-0.01, 1.01, kNan, std::numeric_limits<double>::infinity()}) {
    AttributionOptions options;
    options.residual_weight = weight;
    ExpectInvalid(options, "options.residual_weight", "Residual weight out of range. residual_weight is ");
  }
}

TEST(RolloutOptionsTest, RefusesDiscardRatioOutOfRange) {
  for (const double ratio : {-0.1, 1.0, kNan}) {
    AttributionOptions options;
    options.discard_ratio = ratio;
    ExpectInvalid(options, "options.discard_ratio", "Discard ratio out of range. discard_ratio is ");
  }
}

TEST(RolloutOptionsTest, RefusesLayerNumbersOutOfRange) {
  for (const int32_t layer :
       {-7, 6, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()}) {
    AttributionOptions by_index, by_start, by_end;
    by_index.layer_idx = layer;
    by_start.start_layer = layer;
    by_end.end_layer = layer;
    ExpectInvalid(by_index, "options.layer_idx", "Layer number out of range. layer_idx is ");
    ExpectInvalid(by_start, "options.start_layer", "Layer number out of range. start_layer is ");
    ExpectInvalid(by_end, "options.end_layer", "Layer number out of range. end_layer is ");
  }
}

TEST(RolloutOptionsTest, LayerErrorTellsTheRange) {
  AttributionOptions options;
  options.layer_idx = 9;
  EXPECT_EQ(StatusOf(options).message(),
            "Layer number out of range. layer_idx is 9 and 6 attention layers are left. Choose one in [-6, "
            "5]; negative "
            "numbers count from the end.");
}

TEST(RolloutOptionsTest, RefusesStartAfterEnd) {
  AttributionOptions options;
  options.start_layer = 3;
  options.end_layer = -4;
  ExpectInvalid(options, "options.start_layer",
                "First layer lies after last layer. start_layer is layer 3, ");
}

TEST(RolloutOptionsTest, RefusesHeadOutOfRange) {
  for (const int32_t head : {-1, kHeads}) {
    AttributionOptions options;
    options.head = head;
    ExpectInvalid(options, "options.head", "Head number out of range. head is ");
  }
}

TEST(RolloutOptionsTest, RefusesNegativeChunkSize) {
  AttributionOptions options;
  options.max_chunk_size = -1;
  ExpectInvalid(options, "options.max_chunk_size", "Chunk size out of range. max_chunk_size is -1. ");
}

TEST(RolloutOptionsTest, RefusesUnknownPreset) {
  AttributionOptions options;
  options.preset = static_cast<Preset>(99);
  ExpectInvalid(options, "options.preset", "Unknown preset. Its number is 99. ");
}

TEST(RolloutOptionsTest, NamesPresetsThatAreNotBuilt) {
  AttributionOptions options;
  options.preset = Preset::kChefer2021;
  ExpectNotBuilt(options, "options.preset", "PRESET_CHEFER_2021");
  options.preset = Preset::kVitExplain;
  ExpectNotBuilt(options, "options.preset", "PRESET_VIT_EXPLAIN");
  options.preset = Preset::kVitExplainFixed;
  ExpectNotBuilt(options, "options.preset", "PRESET_VIT_EXPLAIN_FIXED");
}

TEST(RolloutOptionsTest, NamesOptionsThatAreNotBuilt) {
  AttributionOptions discard, padding, ratio, drop;
  discard.discard_ratio = 0.9;
  padding.include_padding = true;
  ratio.causal_correction = CausalCorrection::kUniformRatio;
  drop.causal_correction = CausalCorrection::kDropFirst;
  ExpectNotBuilt(discard, "options.discard_ratio", "discard_ratio");
  ExpectNotBuilt(padding, "options.include_padding", "include_padding");
  ExpectNotBuilt(ratio, "options.causal_correction", "CAUSAL_CORRECTION_UNIFORM_RATIO");
  ExpectNotBuilt(drop, "options.causal_correction", "CAUSAL_CORRECTION_DROP_FIRST");
}

}  // namespace
}  // namespace attribution::rollout
