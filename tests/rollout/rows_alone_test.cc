// Chosen rows that are folded without the matrix equal those of the matrix and of the oracle.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <optional>
#include <thread>
#include <tuple>

#include "server/rollout/fold_rules.h"
#include "server/rollout/rollout_fold.h"
#include "server/rollout/rollout_options.h"
#include "tests/rollout/attention_samples.h"

namespace attribution::rollout {
namespace {

using Kind = RowSelection::Kind;

constexpr int32_t kLayers = 4;
constexpr int32_t kHeads = 3;

// A whole sequence, one with gaps at its front and inside, one padded by the chunk. Positions 2, 3 are valid
// in all.
const std::vector<std::vector<int32_t>> kMasks = {
    {1, 1, 1, 1, 1, 1, 1, 1}, {0, 0, 1, 1, 0, 1, 1, 0}, {1, 1, 1, 1, 1}};

const std::vector<RowSelection> kSelections = {
    {Kind::kFirstValid, {}}, {Kind::kLastValid, {}}, {Kind::kIndices, {2, 3}}};

// The rows that `selection` means, found in the mask position by position.
std::vector<int64_t> NumbersOf(const RowSelection& selection, const std::vector<int32_t>& mask,
                               int64_t length) {
  if (selection.kind == Kind::kIndices) return {selection.indices.begin(), selection.indices.end()};
  std::vector<int64_t> valid;
  for (int64_t i = 0; i < length; ++i) {
    if (mask[i] != 0) valid.push_back(i);
  }
  return {selection.kind == Kind::kFirstValid ? valid.front() : valid.back()};
}

// Expects the rows of every selection to be those of the matrix, to 1e-6, and of the oracle.
void ExpectRowsOfTheMatrix(const Sample& sample, const ResolvedOptions& options, int64_t block_rows) {
  const auto want = oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, options);
  const ChunkFold full = FoldSample(sample, options, block_rows);
  for (const RowSelection& selection : kSelections) {
    const ChunkFold alone = FoldSample(sample, options, block_rows, at::kFloat, selection);
    for (size_t b = 0; b < alone.folds.size(); ++b) {
      const std::vector<int64_t> numbers = NumbersOf(selection, sample.masks[b], sample.lengths[b]);
      const oracle::Matrix got = ToMatrix(alone.folds[b].rollout());
      const oracle::Matrix matrix = ToMatrix(full.folds[b].rollout());
      ASSERT_EQ(got.size(), numbers.size());
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i].size(), matrix.size());
        for (size_t j = 0; j < got[i].size(); ++j) {
          ASSERT_NEAR(got[i][j], matrix[numbers[i]][j], 1e-6) << "sequence " << b << ", row " << numbers[i];
          ASSERT_NEAR(got[i][j], want.rollouts[b][numbers[i]][j], 1e-5);
        }
      }
      EXPECT_EQ(alone.statistics[2][b].entropy_sum, full.statistics[2][b].entropy_sum);
    }
  }
}

class RowsAloneTest
    : public ::testing::TestWithParam<std::tuple<Preset, double, std::optional<double>, bool>> {
 protected:
  // Nothing if rows cannot be had alone with these parameters.
  std::optional<ResolvedOptions> Resolve(AttributionOptions options) const {
    std::tie(options.preset, options.residual_weight, options.discard_ratio, options.include_padding) =
        GetParam();
    const auto resolved = ResolveOptions(options, kLayers, kHeads);
    EXPECT_TRUE(resolved.ok()) << resolved.status();
    if (FoldsRowsAlone(*resolved)) return *resolved;
    EXPECT_EQ(resolved->preset, Preset::kIclrMetrics);
    EXPECT_GT(resolved->discard_ratio, 0);
    return std::nullopt;
  }
  static Sample Attention() {
    return std::get<bool>(GetParam()) ? PaddedSample(61, kLayers, kHeads, kMasks)
                                      : RandomSample(61, kLayers, kHeads, kMasks);
  }
};

TEST_P(RowsAloneTest, EqualThoseOfTheMatrixWhateverTheBlocks) {
  const auto options = Resolve({});
  for (const int64_t block_rows : {1, 3, 100}) {
    if (options.has_value()) ExpectRowsOfTheMatrix(Attention(), *options, block_rows);
  }
}

TEST_P(RowsAloneTest, FollowFusionsHeadsAndLayerRanges) {
  AttributionOptions options;
  options.head_fusion = HeadFusion::kMax;
  if (const auto resolved = Resolve(options)) ExpectRowsOfTheMatrix(Attention(), *resolved, 3);
  options = {};
  options.head = 2;
  options.start_layer = 1;
  options.end_layer = -2;
  if (const auto resolved = Resolve(options)) ExpectRowsOfTheMatrix(Attention(), *resolved, 3);
}

INSTANTIATE_TEST_SUITE_P(Options, RowsAloneTest,
                         ::testing::Combine(::testing::Values(Preset::kAbnar2020, Preset::kIclrMetrics,
                                                              Preset::kChefer2021, Preset::kVitExplain,
                                                              Preset::kVitExplainFixed),
                                            ::testing::Values(0.5, 0.2, 1.0),
                                            ::testing::Values(std::nullopt, 0.0, 0.35), ::testing::Bool()));

TEST(RowsAloneMemoryTest, LayersAreKeptFromTheLeftAndNoneFromTheRight) {
  constexpr int64_t kLayerBytes = int64_t{64} * 64 * 4;
  const Sample sample = RandomSample(62, kLayers, 1, {std::vector<int32_t>(64, 1)});
  const auto bytes = [&](Preset preset) {
    return FoldSample(sample, Defaults(kLayers, preset), 16, at::kFloat, kSelections[1]).folds[0].bytes();
  };
  EXPECT_GE(bytes(Preset::kAbnar2020), kLayers * kLayerBytes);
  EXPECT_LE(bytes(Preset::kAbnar2020), kLayers * kLayerBytes + 64 * 40);
  EXPECT_LE(bytes(Preset::kIclrMetrics), 64 * 24);
}

// Which thread comes first must not show in a single bit.
TEST(RowsAloneThreadsTest, BlocksOfSeveralThreadsGiveTheSameBitsEveryTime) {
  constexpr int64_t kSize = 96;
  constexpr int64_t kBlock = 4;
  constexpr int64_t kThreads = 4;
  const Sample sample = RandomSample(63, 2, 2, {std::vector<int32_t>(kSize, 1)});
  for (const Preset preset : {Preset::kAbnar2020, Preset::kIclrMetrics}) {
    const ResolvedOptions options = Defaults(2, preset);
    const at::Tensor want =
        FoldSample(sample, options, kBlock, at::kFloat, kSelections[2]).folds[0].rollout();
    for (int repetition = 0; repetition < 10; ++repetition) {
      SequenceFold fold(options, ValidPositions({}, kSize, at::kFloat), at::kFloat,
                        std::vector<RowRun>{{2, 2}});
      at::Tensor spare = at::empty({0}, at::kFloat);
      for (int32_t l = 0; l < 2; ++l) {
        fold.BeginLayer(l, /*measure=*/false);
        const at::Tensor layer = ToTensor(sample.layers[l][0]);
        std::vector<std::thread> threads;
        for (int64_t thread = 0; thread < kThreads; ++thread) {
          threads.emplace_back([&, thread] {
            const c10::InferenceMode inference;
            for (int64_t first = thread * kBlock; first < kSize; first += kThreads * kBlock)
              fold.AddRows(first, layer.narrow(1, first, kBlock), spare);
          });
        }
        for (std::thread& thread : threads) thread.join();
        ASSERT_TRUE(fold.EndLayer(spare).ok());
      }
      EXPECT_TRUE(at::equal(fold.rollout(), want));
    }
  }
}

}  // namespace
}  // namespace attribution::rollout
