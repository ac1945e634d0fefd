// What holds for mean fusion without discard, whatever the attention: random sizes and masks, fixed seeds.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "server/rollout/rollout_fold.h"
#include "tests/rollout/attention_samples.h"

namespace attribution::rollout {
namespace {

constexpr double kTolerance = 1e-5;

// Presets whose rows are normalised.
constexpr Preset kPresets[] = {Preset::kAbnar2020, Preset::kIclrMetrics, Preset::kVitExplainFixed};

std::vector<int32_t> RandomMask(std::mt19937& generator) {
  std::vector<int32_t> mask(1 + generator() % 40);
  for (int32_t& value : mask) value = generator() % 4 == 0 ? 0 : 1;
  mask[generator() % mask.size()] = 1;
  return mask;
}

// Attention of one head that is `cell(i, j)` at valid positions.
template <typename Cell>
Sample Constant(int32_t layers, const std::vector<int32_t>& mask, const Cell& cell) {
  Sample sample = RandomSample(0, layers, 1, {mask});
  for (oracle::Layer& layer : sample.layers) {
    for (size_t i = 0; i < mask.size(); ++i) {
      for (size_t j = 0; j < mask.size(); ++j) {
        if (mask[i] != 0 && mask[j] != 0) layer[0][0][i][j] = cell(i, j);
      }
    }
  }
  return sample;
}

class RolloutPropertiesTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  RolloutPropertiesTest()
      : mask_(RandomMask(generator_)),
        layers_(1 + static_cast<int32_t>(generator_() % 8)),
        count_(static_cast<double>(std::count(mask_.begin(), mask_.end(), 1))) {}

  ResolvedOptions Options(Preset preset) {
    ResolvedOptions options = Defaults(layers_, preset);
    options.residual_weight = static_cast<double>(generator_() % 100) / 100;
    return options;
  }

  std::mt19937 generator_{GetParam()};
  const std::vector<int32_t> mask_;
  const int32_t layers_;
  const double count_;  // of valid positions
};

TEST_P(RolloutPropertiesTest, ValidRowsOfTheRolloutSumToOne) {
  const Sample sample = RandomSample(GetParam(), layers_, 3, {mask_});
  for (const Preset preset : kPresets) {
    const ChunkFold chunk = FoldSample(sample, Options(preset));
    const at::Tensor sums = chunk.folds[0].rollout().sum(1);
    for (size_t i = 0; i < mask_.size(); ++i) {
      EXPECT_NEAR(sums[static_cast<int64_t>(i)].item<double>(), mask_[i], kTolerance) << i;
    }
  }
}

TEST_P(RolloutPropertiesTest, EntropiesLieBetweenZeroAndLogN) {
  const Sample sample = RandomSample(GetParam(), layers_, 3, {mask_});
  for (const Preset preset : kPresets) {
    const ChunkFold chunk = FoldSample(sample, Options(preset));
    for (int32_t l = 0; l < layers_; ++l) {
      EXPECT_GE(chunk.statistics[l][0].entropy(), -kTolerance);
      EXPECT_LE(chunk.statistics[l][0].entropy(), std::log(count_) + kTolerance);
    }
    EXPECT_GE(chunk.folds[0].MeasureRollout().entropy(), -kTolerance);
    EXPECT_LE(chunk.folds[0].MeasureRollout().entropy(), std::log(count_) + kTolerance);
  }
}

TEST_P(RolloutPropertiesTest, UniformAttentionHasEntropyLogN) {
  const Sample sample = Constant(layers_, mask_, [&](size_t, size_t) { return 1 / count_; });
  ResolvedOptions options = Defaults(layers_, Preset::kAbnar2020);
  options.residual_weight = 0;
  const ChunkFold chunk = FoldSample(sample, options);
  EXPECT_NEAR(chunk.statistics[0][0].entropy(), std::log(count_), kTolerance);
  EXPECT_NEAR(chunk.folds[0].MeasureRollout().entropy(), std::log(count_), kTolerance);
  const ChunkFold iclr = FoldSample(sample, Options(Preset::kIclrMetrics));
  EXPECT_NEAR(iclr.folds[0].MeasureRollout().entropy(), std::log(count_), kTolerance);
}

TEST_P(RolloutPropertiesTest, IdentityGivesIdentity) {
  const Sample sample = Constant(layers_, mask_, [](size_t i, size_t j) { return i == j ? 1.0 : 0.0; });
  for (const Preset preset : kPresets) {
    const oracle::Matrix rollout = ToMatrix(FoldSample(sample, Options(preset)).folds[0].rollout());
    for (size_t i = 0; i < mask_.size(); ++i) {
      for (size_t j = 0; j < mask_.size(); ++j) {
        EXPECT_NEAR(rollout[i][j], i == j ? mask_[i] : 0, kTolerance) << i << ", " << j;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RolloutPropertiesTest, ::testing::Range(100U, 120U));

}  // namespace
}  // namespace attribution::rollout
