// Blocks of a layer that come in any order, and from several threads at once.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <thread>

#include "attribution/status_details.h"
#include "server/rollout/rollout_fold.h"
#include "tests/rollout/attention_samples.h"

namespace attribution::rollout {
namespace {

const at::TensorOptions kFloat32(at::kFloat);
constexpr int64_t kSize = 48;
constexpr int64_t kBlockRows = 4;
constexpr int64_t kThreads = 4;
constexpr int32_t kLayers = 3;

class RolloutFoldThreadsTest : public ::testing::TestWithParam<Preset> {
 protected:
  RolloutFoldThreadsTest() { options_.residual_weight = 0.2; }

  SequenceFold NewFold() const { return {options_, ValidPositions(mask_, kSize, kFloat32), kFloat32}; }

  at::Tensor Layer(int32_t layer) const { return ToTensor(sample_.layers[layer][0]); }

  static void AddBlock(SequenceFold& fold, int64_t block, const at::Tensor& layer, const at::Tensor& spare) {
    fold.AddRows(block * kBlockRows, layer.narrow(1, block * kBlockRows, kBlockRows), spare);
  }

  void ExpectEqualsOracle(const SequenceFold& fold) const {
    const auto want = oracle::NaiveRollout(sample_.layers, sample_.masks, sample_.lengths, options_);
    ExpectNear(fold.rollout(), want.rollouts[0], 1e-5);
  }

  const std::vector<int32_t> mask_ = [] {
    std::vector<int32_t> mask(kSize, 1);
    mask[0] = mask[20] = mask[kSize - 1] = 0;
    return mask;
  }();
  const Sample sample_ = RandomSample(41, kLayers, 2, {mask_});
  ResolvedOptions options_ = Defaults(kLayers, GetParam());
  at::Tensor spare_ = at::full({kSize * kSize}, std::numeric_limits<float>::quiet_NaN(), kFloat32);
};

TEST_P(RolloutFoldThreadsTest, OrderOfTheBlocksDoesNotShow) {
  SequenceFold fold = NewFold();
  for (int32_t l = 0; l < kLayers; ++l) {
    fold.BeginLayer(l, true);
    for (int64_t block = kSize / kBlockRows - 1; block >= 0; --block) AddBlock(fold, block, Layer(l), spare_);
    ASSERT_TRUE(fold.EndLayer(spare_).ok());
  }
  ExpectEqualsOracle(fold);
}

TEST_P(RolloutFoldThreadsTest, ThreadsShareTheBlocksOfALayer) {
  SequenceFold fold = NewFold();
  for (int32_t l = 0; l < kLayers; ++l) {
    fold.BeginLayer(l, true);
    const at::Tensor layer = Layer(l);
    std::vector<std::thread> threads;
    for (int64_t thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        const c10::InferenceMode inference;
        for (int64_t block = thread; block < kSize / kBlockRows; block += kThreads) {
          AddBlock(fold, block, layer, spare_);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    const auto statistics = fold.EndLayer(spare_);
    ASSERT_TRUE(statistics.ok()) << statistics.status();
    EXPECT_EQ(statistics->num_rows, kSize - 3);
  }
  ExpectEqualsOracle(fold);
}

TEST_P(RolloutFoldThreadsTest, ErrorIsThatOfTheSmallestRowWhateverTheOrder) {
  options_.head = 2;
  for (const bool backwards : {false, true}) {
    SequenceFold fold = NewFold();
    fold.BeginLayer(0, true);
    std::vector<int64_t> blocks = {0, 1, 2, 3};
    if (backwards) std::reverse(blocks.begin(), blocks.end());
    for (const int64_t block : blocks) {
      // Block 1 has one head, later ones have two.
      const at::Tensor heads = at::ones({block == 0 ? 3 : block == 1 ? 1 : 2, kBlockRows, kSize}, kFloat32);
      fold.AddRows(block * kBlockRows, heads, spare_);
    }
    const absl::Status status = fold.EndLayer(spare_).status();
    EXPECT_EQ(FieldOf(status), "options.head");
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("layer 0 has 1 heads"));
  }
}

INSTANTIATE_TEST_SUITE_P(BothWays, RolloutFoldThreadsTest,
                         ::testing::Values(Preset::kAbnar2020, Preset::kIclrMetrics, Preset::kVitExplain));

}  // namespace
}  // namespace attribution::rollout
