#include "server/engine/chunk_fold.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <memory>

#include "attribution/status_details.h"
#include "server/rollout/metrics.h"
#include "tests/engine/fold_alone.h"
#include "tests/models/fake_runner.h"
#include "tests/rollout/attention_samples.h"

namespace attribution::engine {
namespace {

using rollout::RandomSample;
using rollout::Sample;
using testing::HasSubstr;

constexpr double kTolerance = 1e-5;

// A whole sequence, one padded by the chunk, one with gaps at its front and inside.
Sample RaggedSample(int32_t layers) {
  return RandomSample(7, layers, 3, {{1, 1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1}, {0, 0, 1, 1, 0, 1, 1}});
}

// The request for `sample`, of a model with one site a layer; layers of `pattern` count.
PreparedRequest RequestFor(const Sample& sample, int32_t sites, const std::string& pattern = "") {
  capture::ModelDescription description;
  for (int32_t site = 0; site < sites; ++site) {
    description.sites.push_back({site, "layer." + std::to_string(site), SiteKind::kBlocked, "", 1});
    description.execution_order.push_back(site);
  }
  auto layers = LayerSelection::Make(description, pattern, "sample");
  EXPECT_TRUE(layers.ok()) << layers.status();
  auto model = std::make_shared<models::ResidentModel>();
  model->runner = std::make_unique<models::FakeRunner>(description);
  PreparedRequest request{model, {}, rollout::Defaults(layers->size()), {}, *std::move(layers)};
  for (size_t b = 0; b < sample.lengths.size(); ++b) {
    TokenSequence sequence;
    sequence.input_ids.assign(sample.lengths[b], 1);
    sequence.attention_mask.assign(sample.masks[b].begin(), sample.masks[b].begin() + sample.lengths[b]);
    request.sequences.push_back(sequence);
  }
  return request;
}

// Shows one layer of `sample`, sequences [first, first + count), in blocks of `block_rows`, as a runner does.
// Returns whether the pass goes on.
bool ShowLayer(ChunkFold& fold, const Sample& sample, int32_t layer, int32_t site, size_t first, size_t count,
               int64_t block_rows = 3) {
  const auto length = static_cast<int64_t>(sample.masks[0].size());
  if (!fold.BeginLayer({site, static_cast<int64_t>(count), 3, length})) return true;
  for (size_t b = 0; b < count; ++b) {
    const at::Tensor probabilities = rollout::ToTensor(sample.layers[layer][first + b]);
    for (int64_t row = 0; row < length; row += block_rows) {
      fold.AddRows(static_cast<int64_t>(b), row,
                   probabilities.narrow(1, row, std::min(block_rows, length - row)));
    }
    fold.EndSequence(static_cast<int64_t>(b));
  }
  return fold.EndLayer();
}

void Ignore(int32_t, const std::vector<rollout::AttentionStatistics>&) {}

void ExpectMetrics(const ChunkFold& fold, int64_t i, const Metrics& want) {
  const Metrics got = rollout::MakeMetrics(fold.attention(i), fold.fold(i).MeasureRollout(), 1,
                                           fold.fold(i).valid().length());
  EXPECT_NEAR(*got.mean_attention, *want.mean_attention, kTolerance);
  EXPECT_NEAR(*got.max_attention, *want.max_attention, kTolerance);
  EXPECT_NEAR(*got.attention_entropy, *want.attention_entropy, kTolerance);
  EXPECT_NEAR(*got.attention_concentration, *want.attention_concentration, kTolerance);
  EXPECT_NEAR(*got.rollout_max, *want.rollout_max, kTolerance);
  EXPECT_NEAR(*got.rollout_entropy, *want.rollout_entropy, kTolerance);
  EXPECT_EQ(got.seq_length, want.seq_length);
}

class ChunkFoldTest : public testing::TestWithParam<std::tuple<Preset, double, int64_t>> {};

TEST_P(ChunkFoldTest, RaggedChunkEqualsTheOracle) {
  const auto [preset, residual_weight, block_rows] = GetParam();
  const Sample sample = RaggedSample(4);
  PreparedRequest request = RequestFor(sample, 4);
  request.options.preset = preset;
  request.options.residual_weight = residual_weight;
  request.options.layer_idx = 1;
  FoldAlone fold(request, 0, 3, Ignore);
  for (int32_t l = 0; l < 4; ++l) EXPECT_TRUE(ShowLayer(fold, sample, l, l, 0, 3, block_rows));
  ASSERT_EQ(fold.Finish(), absl::OkStatus());
  const oracle::NaiveResult want =
      oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, request.options);
  for (int64_t b = 0; b < 3; ++b) {
    SCOPED_TRACE(testing::Message() << "sequence " << b);
    EXPECT_EQ(fold.fold(b).rollout().size(0), sample.lengths[b]);
    rollout::ExpectNear(fold.fold(b).rollout(), want.rollouts[b], kTolerance);
    ExpectMetrics(fold, b, want.sequences[b]);
  }
}

INSTANTIATE_TEST_SUITE_P(Options, ChunkFoldTest,
                         testing::Combine(testing::Values(Preset::kAbnar2020, Preset::kIclrMetrics),
                                          testing::Values(0.5, 0.2), testing::Values(1, 3, 100)));

TEST(ChunkFoldPaddingTest, IncludePaddingCountsEveryCell) {
  const Sample sample = rollout::PaddedSample(8, 4, 3, {{1, 1, 1, 1, 1, 1}, {1, 1, 1}, {0, 1, 1, 0, 1}});
  for (const Preset preset : {Preset::kAbnar2020, Preset::kIclrMetrics, Preset::kVitExplain}) {
    SCOPED_TRACE(static_cast<int>(preset));
    PreparedRequest request = RequestFor(sample, 4);
    request.options.preset = preset;
    request.options.discard_ratio = preset == Preset::kVitExplain ? 0.9 : 0;
    request.options.include_padding = true;
    FoldAlone fold(request, 0, 3, Ignore);
    for (int32_t l = 0; l < 4; ++l) EXPECT_TRUE(ShowLayer(fold, sample, l, l, 0, 3));
    ASSERT_EQ(fold.Finish(), absl::OkStatus());
    const oracle::NaiveResult want =
        oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, request.options);
    for (int64_t b = 0; b < 3; ++b) {
      SCOPED_TRACE(testing::Message() << "sequence " << b);
      rollout::ExpectNear(fold.fold(b).rollout(), want.rollouts[b], kTolerance);
      ExpectMetrics(fold, b, want.sequences[b]);
    }
  }
}

TEST(ChunkFoldPaddingTest, NanInAValidRowStaysAnErrorWithIncludePadding) {
  Sample sample = rollout::PaddedSample(8, 2, 3, {{1, 1, 1, 1}, {1, 1}});
  sample.layers[0][1][0][1][0] = std::numeric_limits<double>::quiet_NaN();
  PreparedRequest request = RequestFor(sample, 2);
  request.options.include_padding = true;
  FoldAlone fold(request, 0, 2, Ignore);
  EXPECT_FALSE(ShowLayer(fold, sample, 0, 0, 0, 2));
  EXPECT_EQ(ReasonOf(fold.Finish()), "NON_FINITE_ATTENTION");
}

TEST(ChunkFoldPartTest, FoldsTheSequencesOfItsChunkAlone) {
  const Sample sample = RaggedSample(2);
  const PreparedRequest request = RequestFor(sample, 2);
  FoldAlone fold(request, 1, 2, Ignore);
  for (int32_t l = 0; l < 2; ++l) ShowLayer(fold, sample, l, l, 1, 2);
  ASSERT_EQ(fold.Finish(), absl::OkStatus());
  const oracle::NaiveResult want =
      oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, request.options);
  rollout::ExpectNear(fold.fold(0).rollout(), want.rollouts[1], kTolerance);
  rollout::ExpectNear(fold.fold(1).rollout(), want.rollouts[2], kTolerance);
}

TEST(ChunkFoldPartTest, StopsAfterTheLastLayerThatIsNeeded) {
  const Sample sample = RaggedSample(4);
  PreparedRequest request = RequestFor(sample, 4);
  request.options.layer_idx = 2;
  request.options.end_layer = 1;
  FoldAlone fold(request, 0, 3, Ignore);
  EXPECT_TRUE(ShowLayer(fold, sample, 0, 0, 0, 3));
  EXPECT_TRUE(ShowLayer(fold, sample, 1, 1, 0, 3));
  EXPECT_FALSE(ShowLayer(fold, sample, 2, 2, 0, 3));
  ASSERT_EQ(fold.Finish(), absl::OkStatus());
  const oracle::NaiveResult want =
      oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, request.options);
  rollout::ExpectNear(fold.fold(2).rollout(), want.rollouts[2], kTolerance);
  ExpectMetrics(fold, 0, want.sequences[0]);
}

TEST(ChunkFoldPartTest, SitesOutsideThePatternAreNotLookedAt) {
  const Sample sample = RaggedSample(2);
  const PreparedRequest request = RequestFor(sample, 4, "[13]");
  FoldAlone fold(request, 0, 3, Ignore);
  EXPECT_FALSE(fold.BeginLayer({0, 3, 3, 8}));
  EXPECT_TRUE(ShowLayer(fold, sample, 0, 1, 0, 3));
  EXPECT_FALSE(fold.BeginLayer({2, 3, 3, 8}));
  EXPECT_TRUE(ShowLayer(fold, sample, 1, 3, 0, 3));
  ASSERT_EQ(fold.Finish(), absl::OkStatus());
  const oracle::NaiveResult want =
      oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, request.options);
  rollout::ExpectNear(fold.fold(0).rollout(), want.rollouts[0], kTolerance);
}

TEST(ChunkFoldPartTest, TellsEachLayerOfEachSequenceWhenAsked) {
  const Sample sample = RaggedSample(3);
  PreparedRequest request = RequestFor(sample, 3);
  request.output.layer_metrics = true;
  std::vector<rollout::AttentionStatistics> merged;
  FoldAlone fold(request, 0, 3,
                 [&](int32_t layer, const std::vector<rollout::AttentionStatistics>& sequences) {
                   EXPECT_EQ(layer, static_cast<int32_t>(merged.size()));
                   EXPECT_EQ(sequences.size(), 3);
                   merged.emplace_back();
                   for (const auto& statistics : sequences) merged.back().Merge(statistics);
                 });
  for (int32_t l = 0; l < 3; ++l) ShowLayer(fold, sample, l, l, 0, 3);
  const oracle::NaiveResult want =
      oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, request.options);
  ASSERT_EQ(merged.size(), 3);
  for (size_t l = 0; l < 3; ++l) {
    SCOPED_TRACE(testing::Message() << "layer " << l);
    EXPECT_NEAR(merged[l].mean(), want.layers[l].mean_attention, kTolerance);
    EXPECT_NEAR(merged[l].max_cell, want.layers[l].max_attention, kTolerance);
    EXPECT_NEAR(merged[l].entropy(), want.layers[l].attention_entropy, kTolerance);
    EXPECT_NEAR(merged[l].concentration(), want.layers[l].attention_concentration, kTolerance);
    EXPECT_EQ(merged[l].num_rows, want.layers[l].num_rows);
    EXPECT_EQ(merged[l].num_cells, want.layers[l].num_cells);
  }
}

TEST(ChunkFoldPartTest, MeasuresOneLayerAloneUnlessAsked) {
  const Sample sample = RaggedSample(3);
  PreparedRequest request = RequestFor(sample, 3);
  request.options.layer_idx = 1;
  std::vector<int64_t> rows;
  FoldAlone fold(request, 0, 3, [&](int32_t, const std::vector<rollout::AttentionStatistics>& sequences) {
    rows.push_back(sequences[0].num_rows);
  });
  for (int32_t l = 0; l < 3; ++l) ShowLayer(fold, sample, l, l, 0, 3);
  EXPECT_THAT(rows, testing::ElementsAre(0, 8, 0));
}

TEST(ChunkFoldPartTest, TakesNoLayerAfterItWasFailed) {
  const Sample sample = RaggedSample(3);
  const PreparedRequest request = RequestFor(sample, 3);
  FoldAlone fold(request, 0, 3, Ignore);
  EXPECT_TRUE(ShowLayer(fold, sample, 0, 0, 0, 3));
  fold.Fail(absl::CancelledError("enough"));
  fold.Fail(absl::InternalError("later"));
  EXPECT_FALSE(fold.BeginLayer({/*site=*/1, /*batch=*/3, /*heads=*/3, /*length=*/8}));
  EXPECT_EQ(fold.Finish(), absl::CancelledError("enough"));
}

TEST(ChunkFoldPartTest, SpareIsSharedAndGrows) {
  const Sample sample = RaggedSample(3);
  const PreparedRequest request = RequestFor(sample, 3);
  at::Tensor spare;
  const ChunkFold one(request, 1, 1, Ignore, RolloutMethod::kFullMatrix, spare);
  const int64_t cells = spare.numel();
  EXPECT_EQ(cells, sample.lengths[1] * sample.lengths[1]);
  const ChunkFold all(request, 0, 3, Ignore, RolloutMethod::kFullMatrix, spare);
  EXPECT_GT(spare.numel(), cells);
  EXPECT_EQ(one.bytes() + spare.nbytes(), one.fold(0).bytes() + spare.nbytes());
}

TEST(ChunkFoldPartTest, NanInAValidRowStopsThePassAndNamesTheLayer) {
  Sample sample = RaggedSample(3);
  sample.layers[1][2][0][3][2] = std::numeric_limits<double>::quiet_NaN();
  const PreparedRequest request = RequestFor(sample, 3);
  FoldAlone fold(request, 0, 3, Ignore);
  EXPECT_TRUE(ShowLayer(fold, sample, 0, 0, 0, 3));
  EXPECT_FALSE(ShowLayer(fold, sample, 1, 1, 0, 3));
  EXPECT_EQ(fold.Finish().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(ReasonOf(fold.Finish()), "NON_FINITE_ATTENTION");
  EXPECT_THAT(std::string(fold.Finish().message()), HasSubstr("Layer 1,"));
}

TEST(ChunkFoldPartTest, MissingLayersAreAnError) {
  const Sample sample = RaggedSample(3);
  const PreparedRequest request = RequestFor(sample, 3);
  FoldAlone fold(request, 0, 3, Ignore);
  ShowLayer(fold, sample, 0, 0, 0, 3);
  EXPECT_EQ(fold.Finish().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(fold.Finish().message()), HasSubstr("this one ran 1 as expected of 3"));
}

TEST(ChunkFoldPartTest, LayersBeyondThoseAtLoadAreAnError) {
  const Sample sample = RaggedSample(2);
  const PreparedRequest request = RequestFor(sample, 2);
  FoldAlone fold(request, 0, 3, Ignore);
  for (int32_t l = 0; l < 2; ++l) ShowLayer(fold, sample, l, l, 0, 3);
  ASSERT_EQ(fold.Finish(), absl::OkStatus());
  EXPECT_FALSE(fold.BeginLayer({/*site=*/1, /*batch=*/3, /*heads=*/1, /*length=*/100}));
  EXPECT_EQ(fold.Finish().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(ChunkFoldPartTest, BatchOtherThanTheChunkIsAnError) {
  const Sample sample = RaggedSample(2);
  const PreparedRequest request = RequestFor(sample, 2);
  FoldAlone fold(request, 0, 3, Ignore);
  EXPECT_FALSE(fold.BeginLayer({/*site=*/0, /*batch=*/6, /*heads=*/1, /*length=*/100}));
  EXPECT_EQ(fold.Finish().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace attribution::engine
