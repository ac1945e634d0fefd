// The corrected rollout against float64 loops: the oracle folds attention that is uniform over the cells that
// a row sees.
#include "server/rollout/causal_correction.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "server/rollout/rollout_fold.h"
#include "server/rollout/uniform_rollout.h"
#include "tests/oracle/naive_correction.h"
#include "tests/rollout/attention_samples.h"

namespace attribution::rollout {
namespace {

constexpr int32_t kLayers = 4;

struct Look {
  const char* name;
  bool (*sees)(int32_t layer, int64_t row, int64_t column);
};

const Look kLooks[] = {
    {"Causal", [](int32_t, int64_t i, int64_t j) { return j <= i; }},
    {"Everything", [](int32_t, int64_t, int64_t) { return true; }},
    {"CausalThenEverything", [](int32_t l, int64_t i, int64_t j) { return l > 0 || j <= i; }},
    {"SlidingWindow", [](int32_t, int64_t i, int64_t j) { return j <= i && j > i - 3; }},
    {"Scattered", [](int32_t l, int64_t i, int64_t j) { return (3 * i + 5 * j + l) % 4 != 0; }},
};

// Without padding, padded on the right, on the left, and with gaps.
Sample SampleOf(const Look& look) {
  Sample sample = RandomSample(4, kLayers, 2,
                               {{1, 1, 1, 1, 1, 1, 1, 1, 1},
                                {1, 1, 1, 1, 1, 0, 0},
                                {0, 0, 1, 1, 1, 1, 1, 1, 1},
                                {1, 0, 1, 1, 0, 1, 1, 0, 1}});
  for (int32_t l = 0; l < kLayers; ++l) {
    for (auto& heads : sample.layers[l]) {
      for (oracle::Matrix& head : heads) {
        for (size_t i = 0; i < head.size(); ++i) {
          for (size_t j = 0; j < head.size(); ++j) {
            if (!look.sees(l, static_cast<int64_t>(i), static_cast<int64_t>(j))) head[i][j] = 0;
          }
        }
      }
    }
  }
  return sample;
}

class CausalCorrectionTest : public testing::TestWithParam<std::tuple<Look, Preset, double>> {
 protected:
  CausalCorrectionTest() : sample_(SampleOf(std::get<0>(GetParam()))) {
    options_ = Defaults(kLayers, std::get<1>(GetParam()));
    options_.residual_weight = 0.3;
    options_.discard_ratio = std::get<2>(GetParam());
    options_.start_layer = 1;
  }

  Sample sample_;
  ResolvedOptions options_;
};

TEST_P(CausalCorrectionTest, AgreesWithTheOracle) {
  const auto plain = oracle::NaiveRollout(sample_.layers, sample_.masks, sample_.lengths, options_);
  for (const CausalCorrection correction : {CausalCorrection::kUniformRatio, CausalCorrection::kDropFirst}) {
    options_.causal_correction = correction;
    const auto want = oracle::NaiveCorrection(sample_.layers, sample_.masks, sample_.lengths, options_);
    for (const int64_t block_rows : {2, 100}) {
      const ChunkFold chunk = FoldSample(sample_, options_, block_rows);
      for (size_t b = 0; b < chunk.folds.size(); ++b) {
        SCOPED_TRACE(b);
        ExpectNear(chunk.folds[b].Corrected(), want[b], 2e-6);
        ExpectNear(chunk.folds[b].rollout(), plain.rollouts[b], 1e-6);  // stays what it is
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Looks, CausalCorrectionTest,
                         testing::Combine(testing::ValuesIn(kLooks),
                                          testing::Values(Preset::kAbnar2020, Preset::kIclrMetrics,
                                                          Preset::kVitExplain),
                                          testing::Values(0.0, 0.4)),
                         [](const auto& info) {
                           return std::get<0>(info.param).name +
                                  std::to_string(static_cast<int>(std::get<1>(info.param))) +
                                  (std::get<2>(info.param) > 0 ? "Discarding" : "");
                         });

at::Tensor UniformCausal(int64_t length) {
  const at::Tensor seen = at::ones({1, length, length}).tril();
  return seen.div(seen.sum(2, /*keepdim=*/true));
}

SequenceFold FoldUniform(int64_t length, int32_t layers) {
  ResolvedOptions options = Defaults(layers);
  options.causal_correction = CausalCorrection::kUniformRatio;
  const at::TensorOptions tensor_options(at::kFloat);
  SequenceFold fold(options, ValidPositions({}, length, tensor_options), tensor_options);
  at::Tensor spare = at::empty({length * length}, tensor_options);
  for (int32_t layer = 0; layer < layers; ++layer) {
    fold.BeginLayer(layer, /*measure=*/false);
    fold.AddRows(0, UniformCausal(length), spare);
    EXPECT_TRUE(fold.EndLayer(spare).ok());
  }
  return fold;
}

// What piles up on the first position by the mask alone, and what the correction leaves of it.
TEST(CausalCorrectionTest, UniformAttentionBecomesUniform) {
  for (const auto& [length, first_share] : {std::pair<int64_t, double>{8, 0.87}, {64, 0.63}}) {
    const SequenceFold fold = FoldUniform(length, 12);
    EXPECT_NEAR(fold.rollout()[length - 1][0].item<double>(), first_share, 0.005);
    const at::Tensor want = UniformCausal(length)[0];
    EXPECT_LE(fold.Corrected().sub(want).abs().max().item<double>(), 1e-5);
  }
}

// The running sums against the product of whole matrices, which every other mask and preset takes.
TEST(UniformRolloutTest, RunningSumsAgreeWithProducts) {
  constexpr int64_t kLength = 200;
  const at::TensorOptions tensor_options(at::kFloat);
  std::vector<int32_t> mask(kLength, 1);
  std::fill(mask.begin(), mask.begin() + 5, 0);
  mask[70] = 0;
  const ValidPositions valid(mask, kLength, tensor_options);
  ResolvedOptions options = Defaults(6);
  UniformRollout sums(options, valid, tensor_options);
  options.discard_ratio = 1e-9;  // discards nothing, but takes whole matrices
  UniformRollout products(options, valid, tensor_options);
  for (int layer = 0; layer < 6; ++layer) {
    for (UniformRollout* rollout : {&sums, &products}) {
      for (int64_t first = 0; first < kLength; first += 50) {
        rollout->AddRows(first, UniformCausal(kLength).narrow(1, first, 50).narrow(2, 0, first + 50));
      }
      rollout->EndLayer();
    }
  }
  const at::Tensor want = products.rollout();
  EXPECT_GT(want.count_nonzero().item<int64_t>(), 0);
  EXPECT_LE(sums.rollout().sub(want).abs().div(want.clamp_min(1e-300)).max().item<double>(), 1e-11);
}

TEST(DropFirstColumnTest, ARowOfNothingElseStaysZero) {
  const at::TensorOptions tensor_options(at::kFloat);
  const at::Tensor rollout = at::tensor({1.0F, 0.0F, 0.25F, 0.75F}).view({2, 2});
  const at::Tensor want = at::tensor({0.0F, 0.0F, 0.0F, 1.0F}).view({2, 2});
  EXPECT_TRUE(DropFirstColumn(rollout, ValidPositions({}, 2, tensor_options)).equal(want));
}

TEST(DivideByUniformTest, LeavesOutWhatUniformAttentionHardlyReaches) {
  const at::Tensor rollout = at::tensor({0.5F, 0.25F, 0.25F}).view({1, 3});
  const at::Tensor uniform = at::tensor({0.5, 0.5, 1e-31}, at::kDouble).view({1, 3});
  const at::Tensor got = DivideByUniform(rollout, uniform);
  EXPECT_LE(got.sub(at::tensor({2.0F / 3, 1.0F / 3, 0.0F})).abs().max().item<double>(), 1e-7);
}

// A cell that the mask shows counts although its probability has become 0 in every head.
TEST(UniformRolloutTest, TheMaskSaysWhatIsVisible) {
  ResolvedOptions options = Defaults(1);
  options.causal_correction = CausalCorrection::kUniformRatio;
  const at::TensorOptions cpu = at::TensorOptions().dtype(at::kFloat);
  SequenceFold fold(options, ValidPositions({1, 1, 1}, 3, cpu), cpu);
  at::Tensor spare = at::empty({9}, cpu);
  fold.BeginLayer(0, /*measure=*/false);
  fold.AddVisible(0, at::ones({3, 3}, at::kBool).tril());
  fold.AddRows(0, at::eye(3).unsqueeze(0), spare);
  ASSERT_TRUE(fold.EndLayer(spare).ok());
  // R is the identity; of R_u's last row the diagonal is 1/2 + 1/6.
  const at::Tensor corrected = fold.Corrected();
  EXPECT_NEAR(corrected[2][2].item<float>(), 1, 1e-6);
  EXPECT_NEAR(corrected[2][0].item<float>(), 0, 1e-6);
  // With the last row uniform, the ratio shows R_u itself.
  SequenceFold other(options, ValidPositions({1, 1, 1}, 3, cpu), cpu);
  other.BeginLayer(0, /*measure=*/false);
  other.AddVisible(0, at::ones({3, 3}, at::kBool));
  other.AddRows(0, at::tensor({1.0F, 0.0F, 0.0F, 0.0F, 1.0F, 0.0F, 0.5F, 0.0F, 0.5F}).view({1, 3, 3}), spare);
  ASSERT_TRUE(other.EndLayer(spare).ok());
  // R[2] = [1/4, 0, 3/4] over R_u[2] = [1/6, 1/6, 2/3]: 3/2 : 0 : 9/8.
  EXPECT_NEAR(other.Corrected()[2][0].item<float>(), 12.0 / 21, 1e-6);
  EXPECT_NEAR(other.Corrected()[2][2].item<float>(), 9.0 / 21, 1e-6);
}

}  // namespace
}  // namespace attribution::rollout
