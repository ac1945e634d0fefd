#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "attribution/status_details.h"
#include "server/rollout/rollout_fold.h"
#include "tests/rollout/attention_samples.h"

namespace attribution::rollout {
namespace {

using ::testing::StartsWith;

const at::TensorOptions kFloat32(at::kFloat);

// Folds one good layer, then `layer` as layer 1; returns how that one ended.
absl::Status EndOfSecondLayer(const at::Tensor& layer, const ResolvedOptions& options, bool measure = true) {
  const int64_t size = layer.size(1);
  at::Tensor spare = at::empty({size * size}, kFloat32);
  SequenceFold fold(options, ValidPositions({}, size, kFloat32), kFloat32);
  fold.BeginLayer(0, false);
  fold.AddRows(0, at::full({layer.size(0), size, size}, 1.0 / static_cast<double>(size), kFloat32), spare);
  EXPECT_TRUE(fold.EndLayer(spare).ok());
  fold.BeginLayer(1, measure);
  fold.AddRows(0, layer, spare);
  return fold.EndLayer(spare).status();
}

at::Tensor Uniform() { return at::full({2, 4, 4}, 0.25, kFloat32); }

TEST(RolloutFoldErrorsTest, NanAndInfNameTheLayer) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const Preset preset : {Preset::kAbnar2020, Preset::kIclrMetrics}) {
      for (const bool measure : {true, false}) {
        at::Tensor layer = Uniform();
        layer[1][2][3] = bad;
        const absl::Status status = EndOfSecondLayer(layer, Defaults(2, preset), measure);
        EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
        EXPECT_THAT(std::string(status.message()),
                    StartsWith("Attention holds NaN or Inf. Layer 1, row 2 of [4, 4]. "));
        EXPECT_EQ(ReasonOf(status), "NON_FINITE_ATTENTION");
      }
    }
  }
}

TEST(RolloutFoldErrorsTest, NanInALayerThatIsOnlyMeasuredIsAnErrorToo) {
  ResolvedOptions options = Defaults(2);
  options.end_layer = 0;
  at::Tensor layer = Uniform();
  layer[0][0][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(ReasonOf(EndOfSecondLayer(layer, options)), "NON_FINITE_ATTENTION");
}

TEST(RolloutFoldErrorsTest, LayerThatIsNeitherFoldedNorMeasuredIsNotLookedAt) {
  ResolvedOptions options = Defaults(2);
  options.end_layer = 0;
  at::Tensor layer = Uniform();
  layer[0][0][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(EndOfSecondLayer(layer, options, /*measure=*/false).ok());
}

TEST(RolloutFoldErrorsTest, NegativeCellNamesTheLayer) {
  at::Tensor layer = Uniform();
  layer.select(1, 3).select(1, 0).fill_(-0.5);
  const absl::Status status = EndOfSecondLayer(layer, Defaults(2));
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()),
              StartsWith("Attention holds a negative cell. Layer 1, row 3 of [4, 4], smallest cell -0.5. "));
  EXPECT_EQ(ReasonOf(status), "NEGATIVE_ATTENTION");
}

TEST(RolloutFoldErrorsTest, LayerWithoutTheHeadAskedForIsRefused) {
  ResolvedOptions options = Defaults(2);
  options.head = 1;
  at::Tensor spare = at::empty({1}, kFloat32);
  SequenceFold fold(options, ValidPositions({}, 1, kFloat32), kFloat32);
  fold.BeginLayer(0, true);
  fold.AddRows(0, at::ones({1, 1, 1}, kFloat32), spare);
  const absl::Status status = fold.EndLayer(spare).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(status), "options.head");
}

TEST(RolloutFoldErrorsTest, MissingRowsAreAnError) {
  at::Tensor spare = at::empty({16}, kFloat32);
  SequenceFold fold(Defaults(1), ValidPositions({}, 4, kFloat32), kFloat32);
  fold.BeginLayer(0, true);
  fold.AddRows(0, Uniform().narrow(1, 0, 3), spare);
  EXPECT_THAT(std::string(fold.EndLayer(spare).status().message()),
              StartsWith("Attention rows are missing. Layer 0 gave 3 rows of 4. "));
}

}  // namespace
}  // namespace attribution::rollout
