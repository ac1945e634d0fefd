#include "server/rollout/rollout_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "attribution/status_details.h"

namespace attribution::rollout {
namespace {

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

TEST(RolloutOptionsTest, PresetsSetWhatTheCallerLeftOpen) {
  struct Case {
    Preset preset;
    int32_t start_layer;
    double discard_ratio;
  };
  for (const Case& test : {Case{Preset::kAbnar2020, 0, 0.0}, Case{Preset::kIclrMetrics, 0, 0.0},
                           Case{Preset::kChefer2021, 1, 0.0}, Case{Preset::kVitExplain, 0, 0.9},
                           Case{Preset::kVitExplainFixed, 0, 0.9}}) {
    SCOPED_TRACE(static_cast<int>(test.preset));
    AttributionOptions options;
    options.preset = test.preset;
    const auto resolved = ResolveOptions(options, kLayers, kHeads);
    ASSERT_TRUE(resolved.ok()) << resolved.status();
    EXPECT_EQ(resolved->preset, test.preset);
    EXPECT_EQ(resolved->start_layer, test.start_layer);
    EXPECT_EQ(resolved->end_layer, kLayers - 1);
    EXPECT_EQ(resolved->discard_ratio, test.discard_ratio);
    EXPECT_EQ(resolved->residual_weight, 0.5);
  }
}

TEST(RolloutOptionsTest, FreeParametersOverrideThePreset) {
  AttributionOptions options;
  options.preset = Preset::kChefer2021;
  options.start_layer = 0;
  options.discard_ratio = 0.25;
  options.include_padding = true;
  EXPECT_EQ(ResolveOptions(options, kLayers, kHeads)->start_layer, 0);
  EXPECT_EQ(ResolveOptions(options, kLayers, kHeads)->discard_ratio, 0.25);
  EXPECT_TRUE(ResolveOptions(options, kLayers, kHeads)->include_padding);
  options.preset = Preset::kVitExplain;
  options.discard_ratio = 0.0;
  EXPECT_EQ(ResolveOptions(options, kLayers, kHeads)->discard_ratio, 0.0);
}

TEST(RolloutOptionsTest, PresetThatBeginsBehindTheOnlyLayerIsRefused) {
  AttributionOptions options;
  options.preset = Preset::kChefer2021;
  const absl::Status status = ResolveOptions(options, 1, kHeads).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(status), "options.preset");
  EXPECT_THAT(
      std::string(status.message()),
      StartsWith("The preset leaves no layer. It begins with layer 1 and 1 attention layers are left."));
  EXPECT_TRUE(ResolveOptions(options, 2, kHeads).ok());
  options.start_layer = 0;
  EXPECT_TRUE(ResolveOptions(options, 1, kHeads).ok());
}

TEST(RolloutOptionsTest, LastLayerBeforeThePresetsFirstIsBlamed) {
  AttributionOptions options;
  options.preset = Preset::kChefer2021;
  options.end_layer = 0;
  ExpectInvalid(options, "options.end_layer",
                "First layer lies after last layer. start_layer is layer 1, end_layer is layer 0 ");
}

TEST(RolloutOptionsTest, PassesCorrectionsOn) {
  for (const CausalCorrection correction : {CausalCorrection::kUniformRatio, CausalCorrection::kDropFirst}) {
    AttributionOptions options;
    options.causal_correction = correction;
    const auto resolved = ResolveOptions(options, kLayers, kHeads);
    ASSERT_TRUE(resolved.ok()) << resolved.status();
    EXPECT_EQ(resolved->causal_correction, correction);
  }
}

TEST(RolloutOptionsTest, RefusesUnknownCorrection) {
  AttributionOptions options;
  options.causal_correction = static_cast<CausalCorrection>(99);
  ExpectInvalid(options, "options.causal_correction", "Unknown causal correction. Its number is 99. ");
}

}  // namespace
}  // namespace attribution::rollout
