#include "client/cli/reply.h"

#include <gtest/gtest.h>

#include "tests/client/sample_reply.h"

namespace attribution::cli {
namespace {

TEST(ReplyTest, PutsSlicesOfAMatrixTogether) {
  Reply reply;
  ASSERT_TRUE(Collect(SliceOf(0, 0, 2, {1.0f, 2.0f}), reply).ok());
  ASSERT_TRUE(Collect(SliceOf(0, 1, 2, {3.0f, 4.0f}), reply).ok());
  EXPECT_EQ(RolloutOf(reply, 0).values, (std::vector<float>{1.0f, 2.0f, 3.0f, 4.0f}));
}

TEST(ReplyTest, LabelsChosenRowsByTheirOwnTokens) {
  Reply reply;
  reply.admitted.tokens = {{.input_ids = {1, 2}, .tokens = {"a", "b"}}};
  ASSERT_TRUE(Collect(SliceOf(0, 1, 2, {0.5f, 0.5f}), reply).ok());
  EXPECT_EQ(RolloutOf(reply, 0).row_labels, std::vector<std::string>{"b"});
}

TEST(ReplyTest, IdsLabelTokensWithoutATokenizer) {
  Reply reply;
  reply.admitted.tokens = {{.input_ids = {101, 102}, .tokens = {}}};
  EXPECT_EQ(TokenLabels(reply, 0, 3), (std::vector<std::string>{"101", "102", "#2"}));
}

TEST(ReplyTest, ReplannedCancelsLaterSequencesOnly) {
  Reply reply = SampleReply();
  reply.top_cells[0] = {};
  reply.top_cells[1] = {};
  ASSERT_TRUE(Collect(Replanned{.first_sequence = 1}, reply).ok());
  EXPECT_TRUE(reply.rollouts.contains(0));
  EXPECT_FALSE(reply.rollouts.contains(1));
  EXPECT_TRUE(reply.top_cells.contains(0));
  EXPECT_FALSE(reply.top_cells.contains(1));
}

TEST(ReplyTest, PutsTheListOfTopCellsTogether) {
  Reply reply;
  TopCells top{.sequence_index = 1, .cells = {{0, 1, 0.5F}, {1, 1, 0.25F}}, .kind = MatrixKind::kRollout};
  ASSERT_TRUE(Collect(top, reply).ok());
  top.cells = {{2, 0, 0.125F}};
  ASSERT_TRUE(Collect(top, reply).ok());
  ASSERT_EQ(reply.top_cells[1].size(), 3u);
  EXPECT_EQ(reply.top_cells[1][2].row, 2);
}

TEST(ReplyTest, RefusesASliceWhoseBytesDoNotMatchItsShape) {
  Reply reply;
  MatrixSlice slice = SliceOf(0, 0, 2, {1.0f, 2.0f});
  slice.data.pop_back();
  EXPECT_EQ(Collect(slice, reply).code(), absl::StatusCode::kDataLoss);
}

TEST(ReplyTest, KeepsOtherMatricesOutOfTheRollout) {
  Reply reply;
  MatrixSlice slice = SliceOf(0, 0, 1, {1.0f});
  slice.kind = MatrixKind::kLayerAttention;
  ASSERT_TRUE(Collect(slice, reply).ok());
  EXPECT_TRUE(reply.rollouts.empty());
}

}  // namespace
}  // namespace attribution::cli
