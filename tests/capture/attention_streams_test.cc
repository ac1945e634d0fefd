#include "server/capture/attention_streams.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "server/capture/inlined_graph.h"
#include "tests/capture/tiny_model.h"

namespace attribution::capture {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// The relations of the attentions of a model whose `x` and `y` are two embeddings, [B, 1, S, 8].
std::vector<AttentionRelation> Relations(const std::string& lines) {
  const InlinedGraph inlined =
      InlineForward(ModuleOf("def forward(self, input_ids, attention_mask):\n"
                             "    table = torch.ones([9, 8])\n"
                             "    x = torch.embedding(table, input_ids).unsqueeze(1)\n"
                             "    y = torch.embedding(table, input_ids + 1).unsqueeze(1)\n" +
                             lines + "    return x\n"));
  std::vector<AttentionRelation> relations;
  for (const Candidate& candidate : inlined.candidates) relations.push_back(candidate.relation);
  return relations;
}

Relation OnlyRelation(const std::string& lines) {
  const auto relations = Relations(lines);
  EXPECT_EQ(relations.size(), 1);
  return relations.empty() ? Relation::kUnknown : relations[0].relation;
}

TEST(AttentionStreamsTest, ProjectionsOfOneStreamAreSelfAttention) {
  EXPECT_EQ(OnlyRelation("    q = torch.layer_norm(x, [8]) * 2\n    k = torch.sin(x)\n"
                         "    x = torch.scaled_dot_product_attention(q, k, x)\n"),
            Relation::kSelf);
}

TEST(AttentionStreamsTest, PositionsThatOneSideAddsDoNotMatter) {
  EXPECT_EQ(OnlyRelation("    x = torch.scaled_dot_product_attention(x + y, x, x)\n"), Relation::kSelf);
}

TEST(AttentionStreamsTest, KeysOfAnotherEmbeddingAreCrossAttention) {
  EXPECT_EQ(OnlyRelation("    x = torch.scaled_dot_product_attention(x, y, y)\n"), Relation::kCross);
}

TEST(AttentionStreamsTest, QueriesThatDependOnNoInputAreCrossAttention) {
  EXPECT_EQ(OnlyRelation("    x = torch.scaled_dot_product_attention(torch.ones([2, 1, 3, 8]), x, x)\n"),
            Relation::kCross);
}

TEST(AttentionStreamsTest, SoftmaxIsJudgedByTheProductBeforeIt) {
  EXPECT_EQ(OnlyRelation("    s = torch.matmul(x, y.transpose(2, 3)) * 0.3\n"
                         "    x = torch.matmul(torch.softmax(s, -1), y)\n"),
            Relation::kCross);
  EXPECT_EQ(OnlyRelation("    x = torch.softmax(torch.layer_norm(x, [8]), -1)\n"), Relation::kUnknown);
}

TEST(AttentionStreamsTest, ListsAndTuplesAreFollowedElementByElement) {
  EXPECT_EQ(OnlyRelation("    a, b = [torch.sin(t) for t in (x, y)]\n"
                         "    x = torch.scaled_dot_product_attention(a, a, b)\n"),
            Relation::kSelf);
  EXPECT_EQ(OnlyRelation("    a, b = [torch.sin(t) for t in (x, y)]\n"
                         "    x = torch.scaled_dot_product_attention(a, b, b)\n"),
            Relation::kCross);
}

TEST(AttentionStreamsTest, BranchesAreFollowedOnBothSides) {
  EXPECT_EQ(OnlyRelation("    if input_ids.size(1) > 3:\n        q, k = x * 2, x\n"
                         "    else:\n        q, k = x, x * 3\n"
                         "    x = torch.scaled_dot_product_attention(q, k, k)\n"),
            Relation::kSelf);
}

TEST(AttentionStreamsTest, MemoryIsWhatKeysAreMadeOf) {
  const auto relations = Relations(
      "    m = torch.scaled_dot_product_attention(y, y, y) + y\n"
      "    m = m + torch.scaled_dot_product_attention(m, m, m)\n"
      "    x = x + torch.scaled_dot_product_attention(x, x, x)\n"
      "    x = x + torch.scaled_dot_product_attention(x, m, m)\n");
  ASSERT_EQ(relations.size(), 4);
  EXPECT_EQ(relations[2].relation, Relation::kSelf);
  EXPECT_THAT(relations[2].memory, IsEmpty());
  EXPECT_EQ(relations[3].relation, Relation::kCross);
  EXPECT_THAT(relations[3].memory, ElementsAre(0, 1));
}

TEST(AttentionStreamsTest, LoopsCarryTheirStream) {
  EXPECT_EQ(OnlyRelation("    for i in range(input_ids.size(1)):\n"
                         "        x = x + torch.scaled_dot_product_attention(x, x, x)\n"),
            Relation::kSelf);
  EXPECT_EQ(OnlyRelation("    for i in range(input_ids.size(1)):\n"
                         "        x = x + torch.scaled_dot_product_attention(x, y, y)\n"),
            Relation::kCross);
}

}  // namespace
}  // namespace attribution::capture
