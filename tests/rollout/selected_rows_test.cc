#include "server/rollout/selected_rows.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "server/rollout/rollout_fold.h"
#include "tests/rollout/attention_samples.h"

namespace attribution::rollout {
namespace {

using ::testing::ElementsAre;

// Cell (i, j) is 100 i + j: exact in half precision up to 2048.
at::Tensor Numbered(int64_t rows, int64_t columns) {
  return (at::arange(rows, at::kFloat) * 100).unsqueeze(1) + at::arange(columns, at::kFloat);
}

std::vector<MatrixSlice> Cut(const SelectedRows& rows) {
  MatrixSlice header;
  header.sequence_index = 2;
  header.layer_idx = 3;
  header.kind = MatrixKind::kLayerAttention;
  std::vector<MatrixSlice> slices;
  rows.Cut(header, [&](MatrixSlice slice) { slices.push_back(std::move(slice)); });
  return slices;
}

// The numbers of the rows of `slices` [.., columns], in order; expects each row to be that of Numbered().
std::vector<int32_t> ExpectNumbered(const std::vector<MatrixSlice>& slices, int32_t columns) {
  std::vector<int32_t> numbers;
  for (const MatrixSlice& slice : slices) {
    EXPECT_EQ(slice.columns, columns);
    const bool half = slice.encoding == MatrixEncoding::kFloat16;
    const at::Tensor cells = at::empty({slice.rows, slice.columns}, half ? at::kHalf : at::kFloat);
    EXPECT_EQ(slice.data.size(), cells.nbytes());
    std::memcpy(cells.mutable_data_ptr(), slice.data.data(), slice.data.size());
    const at::Tensor want = Numbered(100, columns).narrow(0, slice.first_row, slice.rows);
    EXPECT_TRUE(at::equal(cells.to(at::kFloat), want)) << "rows from " << slice.first_row;
    for (int32_t i = 0; i < slice.rows; ++i) numbers.push_back(slice.first_row + i);
  }
  return numbers;
}

TEST(SelectedRowsTest, KeepsChosenRowsOfBlocksInAnyOrder) {
  const at::Tensor matrix = Numbered(9, 9);
  SelectedRows rows({{1, 3}, {5, 1}, {8, 1}}, 9, MatrixEncoding::kFloat32, at::kFloat);
  for (const int64_t first : {6, 0, 4, 2, 8}) {
    rows.Take(first, matrix.narrow(0, first, std::min<int64_t>(2, 9 - first)));
  }
  const std::vector<MatrixSlice> slices = Cut(rows);
  EXPECT_THAT(ExpectNumbered(slices, 9), ElementsAre(1, 2, 3, 5, 8));
  ASSERT_EQ(slices.size(), 3u);
  EXPECT_EQ(slices[0].sequence_index, 2);
  EXPECT_EQ(slices[0].layer_idx, 3);
  EXPECT_EQ(slices[0].kind, MatrixKind::kLayerAttention);
  EXPECT_EQ(slices[0].encoding, MatrixEncoding::kFloat32);
}

TEST(SelectedRowsTest, HoldsNoMoreThanTheChosenRowsInTheirEncoding) {
  EXPECT_EQ(SelectedRows({{1, 3}, {5, 1}}, 9, MatrixEncoding::kFloat32, at::kFloat).bytes(), 4 * 9 * 4);
  EXPECT_EQ(SelectedRows({{1, 3}, {5, 1}}, 9, MatrixEncoding::kFloat16, at::kFloat).bytes(), 4 * 9 * 2);
}

TEST(SelectedRowsTest, HalfPrecisionIsKeptAndSent) {
  SelectedRows rows({{0, 2}, {4, 1}}, 5, MatrixEncoding::kFloat16, at::kFloat);
  rows.Take(0, Numbered(5, 5));
  const std::vector<MatrixSlice> slices = Cut(rows);
  EXPECT_THAT(ExpectNumbered(slices, 5), ElementsAre(0, 1, 4));
  EXPECT_EQ(slices[0].encoding, MatrixEncoding::kFloat16);
}

TEST(SelectedRowsTest, LongRunIsCutIntoSlicesThatKnowTheirRow) {
  const int64_t columns = 300000;  // a row is more than 1 MiB
  SelectedRows rows({{7, 2}}, columns, MatrixEncoding::kFloat32, at::kFloat);
  rows.Take(7, at::zeros({2, columns}, at::kFloat));
  const std::vector<MatrixSlice> slices = Cut(rows);
  ASSERT_EQ(slices.size(), 2u);
  EXPECT_EQ(slices[0].first_row, 7);
  EXPECT_EQ(slices[1].first_row, 8);
}

TEST(SelectedRowsTest, ThreadsShareTheBlocks) {
  const int64_t size = 64;
  const at::Tensor matrix = Numbered(size, size);
  SelectedRows rows({{0, 10}, {11, 40}, {60, 4}}, size, MatrixEncoding::kFloat32, at::kFloat);
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int64_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      const c10::InferenceMode inference;
      for (int64_t first = thread * 4; first < size; first += 16)
        rows.Take(first, matrix.narrow(0, first, 4));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ExpectNumbered(Cut(rows), size).size(), 54u);
}

TEST(SelectedRowsTest, CutRowsTakesThemFromAWholeMatrix) {
  MatrixSlice header;
  header.encoding = MatrixEncoding::kFloat16;
  std::vector<MatrixSlice> slices;
  CutRows(Numbered(6, 6), {{0, 1}, {2, 3}}, header,
          [&](MatrixSlice slice) { slices.push_back(std::move(slice)); });
  EXPECT_THAT(ExpectNumbered(slices, 6), ElementsAre(0, 2, 3, 4));
}

// A fold hands over what the statistics see: heads fused as asked, zero at masked positions, not discarded.
class KeptLayerTest : public testing::TestWithParam<std::tuple<HeadFusion, std::optional<int32_t>>> {};

TEST_P(KeptLayerTest, IsTheFusedAttentionBeforeAnythingIsDiscarded) {
  const Sample sample = RandomSample(51, 3, 4, {{0, 1, 1, 0, 1, 1, 1}});
  for (const Preset preset : {Preset::kAbnar2020, Preset::kIclrMetrics, Preset::kVitExplain}) {
    ResolvedOptions options = Defaults(3, preset);
    std::tie(options.head_fusion, options.head) = GetParam();
    options.discard_ratio = 0.5;
    options.start_layer = options.end_layer = 1;  // layers 0 and 2 are neither folded nor measured
    const oracle::NaiveResult want =
        oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, options);
    SequenceFold fold(options, ValidPositions(sample.masks[0], 7, at::kFloat), at::kFloat);
    at::Tensor spare = at::empty({49}, at::kFloat);
    for (int32_t l = 0; l < 3; ++l) {
      SCOPED_TRACE(testing::Message() << "preset " << static_cast<int>(preset) << ", layer " << l);
      SelectedRows kept({{0, 7}}, 7, MatrixEncoding::kFloat32, at::kFloat);
      fold.BeginLayer(l, /*measure=*/false, &kept);
      const at::Tensor layer = ToTensor(sample.layers[l][0]);
      for (const int64_t first : {3, 0, 6}) {
        fold.AddRows(first, layer.narrow(1, first, std::min<int64_t>(3, 7 - first)), spare);
      }
      ASSERT_TRUE(fold.EndLayer(spare).ok());
      const std::vector<MatrixSlice> slices = Cut(kept);
      ASSERT_EQ(slices.size(), 1u);
      const at::Tensor cells = at::empty({7, 7}, at::kFloat);
      std::memcpy(cells.mutable_data_ptr(), slices[0].data.data(), cells.nbytes());
      ExpectNear(cells, want.attention[0][l], 1e-6);
    }
    ExpectNear(fold.rollout(), want.rollouts[0], 1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(Heads, KeptLayerTest,
                         testing::Values(std::tuple(HeadFusion::kMean, std::nullopt),
                                         std::tuple(HeadFusion::kMax, std::nullopt),
                                         std::tuple(HeadFusion::kMin, std::nullopt),
                                         std::tuple(HeadFusion::kMean, 2)));

}  // namespace
}  // namespace attribution::rollout
