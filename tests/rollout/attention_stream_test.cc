#include "server/rollout/attention_stream.h"

#include <gtest/gtest.h>

#include <tuple>

#include "tests/rollout/streamed_sample.h"

namespace attribution::rollout {
namespace {

constexpr double kTolerance = 1e-5;
constexpr int32_t kLayers = 3;
constexpr int32_t kHeads = 3;

// A whole sequence, one padded on the right, one with gaps at its front and inside.
const std::vector<std::vector<int32_t>> kMasks = {{1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1}, {0, 0, 1, 1, 0, 1, 1}};

Sample Attention(bool include_padding = false) {
  return include_padding ? PaddedSample(51, kLayers, kHeads, kMasks)
                         : RandomSample(51, kLayers, kHeads, kMasks);
}

void ExpectNearMetrics(const Metrics& got, const Metrics& want) {
  EXPECT_NEAR(*got.mean_attention, *want.mean_attention, kTolerance);
  EXPECT_NEAR(*got.max_attention, *want.max_attention, kTolerance);
  EXPECT_NEAR(*got.attention_entropy, *want.attention_entropy, kTolerance);
  EXPECT_NEAR(*got.attention_concentration, *want.attention_concentration, kTolerance);
  EXPECT_NEAR(*got.rollout_max, *want.rollout_max, kTolerance);
  EXPECT_NEAR(*got.rollout_entropy, *want.rollout_entropy, kTolerance);
  EXPECT_EQ(got.batch_size, want.batch_size);
  EXPECT_EQ(got.seq_length, want.seq_length);
}

// Expects what a stream of `sample` in pieces of `piece_bytes` gives to be what the oracle gives.
void ExpectAsOracle(const Sample& sample, const ResolvedOptions& options, TensorDtype dtype,
                    size_t piece_bytes) {
  AttentionStream stream = NewStream(HeaderOf(sample, dtype), options);
  ASSERT_EQ(StreamSample(stream, sample, dtype, piece_bytes), absl::OkStatus());
  const Sample rounded = Rounded(sample, dtype);
  const std::vector<int64_t> lengths(sample.masks.size(), static_cast<int64_t>(sample.masks[0].size()));
  const auto want = oracle::NaiveRollout(rounded.layers, rounded.masks, lengths, options);
  for (size_t b = 0; b < sample.masks.size(); ++b) {
    SCOPED_TRACE(b);
    const auto sequence = static_cast<int64_t>(b);
    ExpectNear(stream.fold(sequence).rollout(), want.rollouts[b], kTolerance);
    ExpectNearMetrics(stream.MetricsOf(sequence), want.sequences[b]);
  }
  ExpectNearMetrics(stream.BatchMetrics(), want.batch);
}

class AttentionStreamTest : public ::testing::TestWithParam<std::tuple<TensorDtype, size_t>> {};

TEST_P(AttentionStreamTest, EqualsTheOracleWhateverThePieces) {
  const auto [dtype, piece_bytes] = GetParam();
  for (const Preset preset : {Preset::kAbnar2020, Preset::kIclrMetrics}) {
    ResolvedOptions options = Defaults(kLayers, preset);
    options.residual_weight = 0.2;
    ExpectAsOracle(Attention(), options, dtype, piece_bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(Pieces, AttentionStreamTest,
                         ::testing::Combine(::testing::Values(TensorDtype::kFloat32, TensorDtype::kFloat16,
                                                              TensorDtype::kBfloat16),
                                            ::testing::Values(1, 3, 7, 101, 1 << 20)));

TEST(AttentionStreamOptionsTest, FusionsOneHeadAndLayerRanges) {
  for (const HeadFusion fusion : {HeadFusion::kMean, HeadFusion::kMax, HeadFusion::kMin}) {
    ResolvedOptions options = Defaults(kLayers);
    options.head_fusion = fusion;
    ExpectAsOracle(Attention(), options, TensorDtype::kFloat32, 50);
  }
  for (int32_t head = 0; head < kHeads; ++head) {
    ResolvedOptions options = Defaults(kLayers);
    options.head = head;
    options.head_fusion = HeadFusion::kMax;
    options.start_layer = 1;
    options.layer_idx = 0;
    ExpectAsOracle(Attention(), options, TensorDtype::kFloat32, 50);
  }
}

TEST(AttentionStreamOptionsTest, DiscardAndIncludePadding) {
  for (const bool include_padding : {false, true}) {
    ResolvedOptions options = Defaults(kLayers, Preset::kVitExplain);
    options.discard_ratio = 0.35;
    options.include_padding = include_padding;
    ExpectAsOracle(Attention(include_padding), options, TensorDtype::kFloat32, 50);
  }
}

// 70000 cells a head: more than are converted at a time, and more rows than are folded at a time.
TEST(AttentionStreamOptionsTest, SequencesLongerThanABlock) {
  const Sample sample = RandomSample(52, 2, 1, {std::vector<int32_t>(265, 1)});
  ExpectAsOracle(sample, Defaults(2), TensorDtype::kFloat32, 1 << 20);
}

TEST(AttentionStreamFormsTest, FusedAndSingleNeedNoHeads) {
  const Sample sample = RandomSample(53, kLayers, 1, kMasks);
  for (const bool single : {false, true}) {
    Sample part = sample;
    if (single) {
      for (oracle::Layer& layer : part.layers) layer.resize(1);
      part.masks.resize(1);
    }
    AttentionHeader header = HeaderOf(part);
    header.form = single ? AttentionForm::kSingle : AttentionForm::kFused;
    AttentionStream stream = NewStream(header, Defaults(kLayers));
    ASSERT_EQ(StreamSample(stream, part, TensorDtype::kFloat32, 9), absl::OkStatus());
    const auto want = oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, Defaults(kLayers));
    for (int64_t b = 0; b < header.batch; ++b)
      ExpectNear(stream.fold(b).rollout(), want.rollouts[b], kTolerance);
  }
}

TEST(AttentionStreamFormsTest, TensorsOfEveryFormEqualBytes) {
  const Sample sample = Attention();
  const ResolvedOptions options = Defaults(kLayers);
  AttentionStream bytes = NewStream(HeaderOf(sample), options);
  ASSERT_EQ(StreamSample(bytes, sample, TensorDtype::kFloat32, 1 << 20), absl::OkStatus());
  AttentionStream per_head = NewStream(HeaderOf(sample), options);
  AttentionHeader fused_header = HeaderOf(sample);
  fused_header.form = AttentionForm::kFused;
  fused_header.heads = 1;
  AttentionStream fused = NewStream(fused_header, options);
  AttentionHeader single_header = fused_header;
  single_header.form = AttentionForm::kSingle;
  single_header.batch = 1;
  single_header.masks.resize(1);
  AttentionStream single = NewStream(single_header, options);
  for (size_t l = 0; l < kLayers; ++l) {
    const at::Tensor layer = LayerTensor(sample, l, TensorDtype::kFloat32);
    // Not contiguous, as tensors may be.
    const at::Tensor strided = layer.transpose(2, 3).contiguous().transpose(2, 3);
    ASSERT_EQ(per_head.AddLayer(strided), absl::OkStatus());
    ASSERT_EQ(fused.AddLayer(layer.mean(1)), absl::OkStatus());
    ASSERT_EQ(single.AddLayer(layer[0].mean(0)), absl::OkStatus());
  }
  for (int64_t b = 0; b < 3; ++b) {
    const at::Tensor want = bytes.fold(b).rollout();
    EXPECT_TRUE(at::equal(per_head.fold(b).rollout(), want));
    EXPECT_TRUE(at::allclose(fused.fold(b).rollout(), want, 0, kTolerance));
  }
  EXPECT_TRUE(at::allclose(single.fold(0).rollout(), bytes.fold(0).rollout(), 0, kTolerance));
}

TEST(AttentionStreamStatisticsTest, EveryLayerOfEverySequenceAsSoonAsItIsComplete) {
  const Sample sample = Attention();
  ResolvedOptions options = Defaults(kLayers);
  options.layer_idx = options.end_layer = 0;
  AttentionStream stream = NewStream(HeaderOf(sample), options);
  for (int32_t l = 0; l < kLayers; ++l) {
    EXPECT_EQ(stream.completed_layers(), l);
    ASSERT_EQ(stream.AddLayer(LayerTensor(sample, l, TensorDtype::kFloat32)), absl::OkStatus());
    ASSERT_EQ(stream.completed_layers(), l + 1);
    ResolvedOptions of_layer = options;
    of_layer.layer_idx = l;
    const auto want = oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, of_layer);
    for (size_t b = 0; b < kMasks.size(); ++b) {
      const AttentionStatistics& got = stream.layer_statistics(l)[b];
      EXPECT_NEAR(got.mean(), *want.sequences[b].mean_attention, kTolerance);
      EXPECT_NEAR(got.max_cell, *want.sequences[b].max_attention, kTolerance);
      EXPECT_NEAR(got.entropy(), *want.sequences[b].attention_entropy, kTolerance);
      EXPECT_NEAR(got.concentration(), *want.sequences[b].attention_concentration, kTolerance);
    }
  }
}

TEST(AttentionStreamMemoryTest, HoldsOneMatrixASequenceAndTwoMore) {
  const Sample sample = RandomSample(54, 1, 8, {std::vector<int32_t>(64, 1), std::vector<int32_t>(64, 1)});
  const AttentionStream stream = NewStream(HeaderOf(sample), Defaults(1));
  EXPECT_GE(stream.bytes(), 4 * 64 * 64 * 4);
  EXPECT_LE(stream.bytes(), 4 * 64 * 64 * 4 + 2 * 64 * 32);
}

}  // namespace
}  // namespace attribution::rollout
