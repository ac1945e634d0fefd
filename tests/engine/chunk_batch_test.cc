#include "server/engine/chunk_batch.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace attribution::engine {
namespace {

using capture::InputRole;
using Rows = std::vector<std::vector<int64_t>>;

Rows RowsOf(const at::Tensor& tensor) {
  EXPECT_EQ(tensor.scalar_type(), at::kLong);
  EXPECT_TRUE(tensor.device().is_cpu());
  const auto cells = tensor.accessor<int64_t, 2>();
  Rows rows(cells.size(0));
  for (int64_t i = 0; i < cells.size(0); ++i) {
    for (int64_t j = 0; j < cells.size(1); ++j) rows[i].push_back(cells[i][j]);
  }
  return rows;
}

// Sequences [first, first + count) of three.
std::vector<const TokenSequence*> Sequences(size_t first, size_t count) {
  static const std::vector<TokenSequence> all = {
      {{1, 2, 3}, {1, 0, 1}, {0, 1, 1}}, {{4}, {}, {}}, {{5, 6}, {0, 1}, {1, 1}}};
  std::vector<const TokenSequence*> chosen;
  for (size_t i = first; i < first + count; ++i) chosen.push_back(&all[i]);
  return chosen;
}

const std::vector<capture::RunnerInput> kAllInputs = {{"input_ids", InputRole::kInputIds},
                                                      {"attention_mask", InputRole::kAttentionMask},
                                                      {"token_type_ids", InputRole::kTokenTypeIds}};

TEST(ChunkBatchTest, PadsOnTheRight) {
  const auto batch = MakeChunkBatch(Sequences(0, 3), 4, kAllInputs, 9);
  ASSERT_EQ(batch.size(), 3);
  EXPECT_EQ(RowsOf(batch[0]), (Rows{{1, 2, 3, 9}, {4, 9, 9, 9}, {5, 6, 9, 9}}));
  EXPECT_EQ(RowsOf(batch[1]), (Rows{{1, 0, 1, 0}, {1, 0, 0, 0}, {0, 1, 0, 0}}));
  EXPECT_EQ(RowsOf(batch[2]), (Rows{{0, 1, 1, 0}, {0, 0, 0, 0}, {1, 1, 0, 0}}));
}

TEST(ChunkBatchTest, TakesTheSequencesOfTheChunkAlone) {
  const auto batch = MakeChunkBatch(Sequences(1, 2), 2, kAllInputs, 0);
  EXPECT_EQ(RowsOf(batch[0]), (Rows{{4, 0}, {5, 6}}));
}

TEST(ChunkBatchTest, FollowsTheOrderOfTheInputs) {
  const auto batch = MakeChunkBatch(
      Sequences(0, 1), 3, {{"mask", InputRole::kAttentionMask}, {"input_ids", InputRole::kInputIds}}, 0);
  ASSERT_EQ(batch.size(), 2);
  EXPECT_EQ(RowsOf(batch[0]), (Rows{{1, 0, 1}}));
  EXPECT_EQ(RowsOf(batch[1]), (Rows{{1, 2, 3}}));
}

}  // namespace
}  // namespace attribution::engine
