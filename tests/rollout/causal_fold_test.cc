// Blocks of rows that end before the last column, as a causal model's attention comes, against the oracle,
// which knows nothing of ends.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "server/rollout/rollout_fold.h"
#include "tests/rollout/attention_samples.h"

namespace attribution::rollout {
namespace {

constexpr int32_t kLayers = 5;

// Clears what is hidden: columns beyond `ahead` positions after the row, and those before `window`.
void Hide(oracle::Layer& layer, int64_t ahead, int64_t window) {
  for (auto& heads : layer) {
    for (oracle::Matrix& head : heads) {
      for (int64_t i = 0; i < static_cast<int64_t>(head.size()); ++i) {
        for (int64_t j = 0; j < static_cast<int64_t>(head.size()); ++j) {
          if (j > i + ahead || j < i - window) head[i][j] = 0;
        }
      }
    }
  }
}

struct Look {
  const char* name;
  std::vector<int64_t> ahead;  // of each layer
  int64_t window;
};

const Look kLooks[] = {
    {"Causal", {0, 0, 0, 0, 0}, 1000},
    {"SlidingWindow", {0, 0, 0, 0, 0}, 2},
    {"StrictlyBefore", {-1, -1, -1, -1, -1}, 1000},  // a block ends before its own diagonal
    {"OneLayerLooksAhead", {0, 0, 3, 0, 0}, 1000},
    {"FirstLayerSeesAll", {1000, 0, 0, 0, 0}, 1000},
    {"LastLayerSeesAll", {0, 0, 0, 0, 1000}, 1000},
};

Sample SampleOf(const Look& look) {
  Sample sample =
      PaddedSample(11, kLayers, 2,
                   {{1, 1, 1, 1, 1, 1, 1, 1, 1}, {0, 0, 1, 1, 1, 1, 1, 1, 1}, {1, 1, 0, 1, 1, 0, 1, 0, 0}});
  for (int32_t l = 0; l < kLayers; ++l) Hide(sample.layers[l], look.ahead[l], look.window);
  return sample;
}

// The end of the columns that hold anything.
int64_t EndOf(const at::Tensor& block) {
  int64_t end = block.size(2);
  while (end > 1 && block.select(2, end - 1).count_nonzero().item<int64_t>() == 0) --end;
  return end;
}

struct Folded {
  std::vector<SequenceFold> folds;
  std::vector<std::vector<AttentionStatistics>> statistics;  // [L][B]
  std::vector<SelectedRows> kept;                            // of the last layer, [B]
};

// As FoldSample does, but cuts every block where it ends. Layers are cut into blocks of different sizes.
Folded FoldEnds(const Sample& sample, const ResolvedOptions& options, int64_t block_rows) {
  const at::TensorOptions tensor_options(at::kFloat);
  const auto length = static_cast<int64_t>(sample.masks[0].size());
  Folded folded;
  for (const auto& mask : sample.masks) {
    folded.folds.emplace_back(options, ValidPositions(mask, length, tensor_options), tensor_options);
    folded.kept.emplace_back(std::vector<RowRun>{{1, 3}, {5, 4}}, length, MatrixEncoding::kFloat32,
                             tensor_options);
  }
  at::Tensor spare = at::full({length * length}, std::numeric_limits<float>::quiet_NaN(), tensor_options);
  for (int32_t l = 0; l < kLayers; ++l) {
    folded.statistics.emplace_back();
    for (size_t b = 0; b < folded.folds.size(); ++b) {
      SequenceFold& fold = folded.folds[b];
      fold.BeginLayer(l, /*measure=*/true, l + 1 == kLayers ? &folded.kept[b] : nullptr);
      const at::Tensor probabilities = ToTensor(sample.layers[l][b]);
      const int64_t step = block_rows + l % 2;
      for (int64_t first = 0; first < length; first += step) {
        const at::Tensor block = probabilities.narrow(1, first, std::min(step, length - first));
        fold.AddRows(first, block.narrow(2, 0, EndOf(block)), spare);
      }
      const auto statistics = fold.EndLayer(spare);
      EXPECT_TRUE(statistics.ok()) << statistics.status();
      folded.statistics.back().push_back(statistics.value_or(AttentionStatistics()));
    }
  }
  return folded;
}

class CausalFoldTest : public testing::TestWithParam<std::tuple<Look, Preset>> {
 protected:
  ResolvedOptions Options() const {
    ResolvedOptions options = Defaults(kLayers, std::get<1>(GetParam()));
    options.residual_weight = 0.3;
    return options;
  }
};

TEST_P(CausalFoldTest, AgreesWithTheOracle) {
  const Sample sample = SampleOf(std::get<0>(GetParam()));
  for (const double discard : {0.0, 0.5}) {
    ResolvedOptions options = Options();
    options.discard_ratio = discard;
    const auto want = oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, options);
    for (const int64_t block_rows : {1, 4, 100}) {
      const Folded folded = FoldEnds(sample, options, block_rows);
      for (size_t b = 0; b < folded.folds.size(); ++b) {
        SCOPED_TRACE(b);
        ExpectNear(folded.folds[b].rollout(), want.rollouts[b], 1e-6);
      }
    }
  }
}

TEST_P(CausalFoldTest, WholeRowsGiveTheSame) {
  const Sample sample = SampleOf(std::get<0>(GetParam()));
  const Folded folded = FoldEnds(sample, Options(), 2);
  const ChunkFold whole = FoldSample(sample, Options(), 2);
  for (size_t b = 0; b < folded.folds.size(); ++b) {
    EXPECT_LE(folded.folds[b].rollout().sub(whole.folds[b].rollout()).abs().max().item<double>(), 1e-6);
    for (int32_t l = 0; l < kLayers; ++l) {
      const AttentionStatistics& got = folded.statistics[l][b];
      const AttentionStatistics& want = whole.statistics[l][b];
      EXPECT_NEAR(got.mean(), want.mean(), 1e-7);
      EXPECT_NEAR(got.entropy(), want.entropy(), 1e-6);
      EXPECT_NEAR(got.concentration(), want.concentration(), 1e-6);
      EXPECT_EQ(got.max_cell, want.max_cell);
      EXPECT_EQ(got.num_cells, want.num_cells);
    }
  }
}

TEST_P(CausalFoldTest, KeptRowsHaveTheirZeros) {
  const Sample sample = SampleOf(std::get<0>(GetParam()));
  const Folded folded = FoldEnds(sample, Options(), 2);
  const auto want = oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, Options());
  for (size_t b = 0; b < folded.kept.size(); ++b) {
    folded.kept[b].Cut({}, [&](const MatrixSlice& slice) {
      const auto* cells = reinterpret_cast<const float*>(slice.data.data());
      for (int32_t i = 0; i < slice.rows; ++i) {
        for (int32_t j = 0; j < slice.columns; ++j) {
          EXPECT_NEAR(cells[i * slice.columns + j], want.attention[b][kLayers - 1][slice.first_row + i][j],
                      1e-6);
        }
      }
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Looks, CausalFoldTest,
                         testing::Combine(testing::ValuesIn(kLooks),
                                          testing::Values(Preset::kAbnar2020, Preset::kIclrMetrics,
                                                          Preset::kChefer2021, Preset::kVitExplain,
                                                          Preset::kVitExplainFixed)),
                         [](const auto& info) {
                           return std::get<0>(info.param).name +
                                  std::to_string(static_cast<int>(std::get<1>(info.param)));
                         });

// Across several strips of the product from the right.
TEST(CausalFoldTest, LargeIclrRolloutAgreesWithWholeRows) {
  constexpr int64_t kLength = 300;
  const at::TensorOptions tensor_options(at::kFloat);
  at::manual_seed(2);
  at::Tensor rollouts[2];
  std::vector<at::Tensor> layers;
  for (int l = 0; l < 3; ++l)
    layers.push_back(at::softmax(at::randn({1, kLength, kLength}).mul(3), -1).tril());
  for (const bool ends : {false, true}) {
    SequenceFold fold(Defaults(3, Preset::kIclrMetrics), ValidPositions({}, kLength, tensor_options),
                      tensor_options);
    at::Tensor spare = at::empty({kLength * kLength}, tensor_options);
    for (int l = 0; l < 3; ++l) {
      fold.BeginLayer(l, false);
      for (int64_t first = 0; first < kLength; first += 50) {
        const at::Tensor block = layers[l].narrow(1, first, 50);
        fold.AddRows(first, ends ? block.narrow(2, 0, first + 50) : block, spare);
      }
      ASSERT_TRUE(fold.EndLayer(spare).ok());
    }
    rollouts[ends ? 1 : 0] = fold.rollout().clone();
  }
  EXPECT_LE(rollouts[0].sub(rollouts[1]).abs().max().item<double>(), 1e-6);
}

}  // namespace
}  // namespace attribution::rollout
