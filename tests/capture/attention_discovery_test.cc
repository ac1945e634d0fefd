#include "server/capture/attention_discovery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/passes/freeze_module.h>

#include <string>
#include <vector>

#include "server/capture/rewrite_attention.h"
#include "tests/capture/tiny_model.h"

namespace attribution::capture {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::vector<RunnerInput> kInputs = {{"input_ids", InputRole::kInputIds},
                                          {"attention_mask", InputRole::kAttentionMask}};

absl::StatusOr<DiscoveredAttention> Discover(const torch::jit::Module& module,
                                             const std::string& pattern = "") {
  std::vector<WarmUpBatch> batches;
  for (const auto& [batch, length] : {std::pair{1, 8}, std::pair{2, 12}}) {
    batches.push_back(MakeWarmUpBatch(kInputs, batch, length, kTinyVocabulary, /*seed=*/0, at::kCPU));
  }
  return DiscoverAttention(module, InlineForward(module), batches, pattern);
}

// A model that has `q`, [B, 1, S, 8], from its ids, one proper attention over it, and then `lines`.
torch::jit::Module ModelWith(const std::string& lines) {
  return ModuleOf(
      "def forward(self, input_ids, attention_mask):\n"
      "    q = torch.sin(input_ids.unsqueeze(1).unsqueeze(3) * torch.arange(1, 9) * 0.1)\n"
      "    x = torch.scaled_dot_product_attention(q, q, q)\n" +
      lines + "    return x\n");
}

// The one reason for which `lines` are skipped; the proper attention must stay.
std::string ReasonToSkip(const std::string& lines) {
  const auto attention = Discover(ModelWith(lines));
  if (!attention.ok()) return attention.status().ToString();
  EXPECT_THAT(attention->site_of, ElementsAre(0, kNotASite));
  EXPECT_THAT(attention->execution_order, ElementsAre(0));
  return attention->skipped.size() == 1 ? attention->skipped[0].reason : "not skipped";
}

TEST(AttentionDiscoveryTest, FindsEveryLayerInOrder) {
  for (const bool fused : {true, false}) {
    const auto attention = Discover(MakeTinyModel(3, fused).module);
    ASSERT_TRUE(attention.ok()) << attention.status();
    ASSERT_EQ(attention->sites.size(), 3);
    EXPECT_EQ(attention->sites[1].index, 1);
    EXPECT_EQ(attention->sites[1].module_path, "layers.1");
    EXPECT_EQ(attention->sites[1].kind, SiteKind::kBlocked);
    EXPECT_EQ(attention->sites[1].executions, 1);
    EXPECT_THAT(attention->execution_order, ElementsAre(0, 1, 2));
    EXPECT_THAT(attention->skipped, IsEmpty());
    EXPECT_THAT(attention->site_heads, Each(kTinyHeads));
  }
}

TEST(AttentionDiscoveryTest, LoopIsOneSiteOfManyLayers) {
  const auto attention = Discover(MakeLoopingModel(4, /*fused=*/true).module);
  ASSERT_TRUE(attention.ok()) << attention.status();
  ASSERT_EQ(attention->sites.size(), 1);
  EXPECT_EQ(attention->sites[0].executions, 4);
  EXPECT_THAT(attention->execution_order, ElementsAre(0, 0, 0, 0));
}

TEST(AttentionDiscoveryTest, FrozenSitesAreNumbered) {
  const auto attention = Discover(torch::jit::freeze_module(MakeTinyModel(2, /*fused=*/true).module));
  ASSERT_TRUE(attention.ok()) << attention.status();
  ASSERT_EQ(attention->sites.size(), 2);
  EXPECT_EQ(attention->sites[0].module_path, "site.0");
  EXPECT_EQ(attention->sites[1].module_path, "site.1");
}

TEST(AttentionDiscoveryTest, PatternChoosesSites) {
  const auto attention = Discover(MakeTinyModel(3, /*fused=*/false).module, "layers\\.[02]$");
  ASSERT_TRUE(attention.ok()) << attention.status();
  ASSERT_THAT(attention->site_of, ElementsAre(0, kNotASite, 1));
  EXPECT_THAT(attention->execution_order, ElementsAre(0, 1));
  EXPECT_EQ(attention->sites[1].module_path, "layers.2");
  ASSERT_EQ(attention->skipped.size(), 1);
  EXPECT_EQ(attention->skipped[0].name, "layers.1 aten::softmax");
  EXPECT_EQ(attention->skipped[0].reason, "the manifest's attention_layer_pattern does not match");
}

TEST(AttentionDiscoveryTest, PatternOfNothingLeavesNoSites) {
  const auto attention = Discover(MakeTinyModel(2, /*fused=*/true).module, "decoder");
  ASSERT_TRUE(attention.ok()) << attention.status();
  EXPECT_THAT(attention->sites, IsEmpty());
  EXPECT_THAT(attention->execution_order, IsEmpty());
  EXPECT_EQ(attention->skipped.size(), 2);
}

TEST(AttentionDiscoveryTest, PatternThatDoesNotCompileIsRefused) {
  const auto attention = Discover(MakeTinyModel(1, /*fused=*/true).module, "layers.(");
  EXPECT_EQ(attention.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(attention.status().message()),
              HasSubstr("The manifest's attention_layer_pattern does not compile."));
}

TEST(AttentionDiscoveryTest, AttentionOverFewerKeysIsSkipped) {
  EXPECT_EQ(ReasonToSkip("    k = q[:, :, :5]\n    x = x + torch.scaled_dot_product_attention(q, k, k)\n"),
            "its probabilities [1, 1, 8, 5] are not square [B, H, S, S] matrices");
}

TEST(AttentionDiscoveryTest, PrefixIsSkipped) {
  EXPECT_THAT(ReasonToSkip("    k = torch.cat([torch.ones([q.size(0), 1, 2, 8]), q], 2)\n"
                           "    x = x + torch.scaled_dot_product_attention(q, k, k)\n"),
              HasSubstr("[1, 1, 8, 10]: it reads a key-value prefix or a cache"));
}

TEST(AttentionDiscoveryTest, CrossAttentionIsSkippedThoughItIsSquare) {
  const std::string memory = "    m = torch.scaled_dot_product_attention(torch.cos(q), torch.cos(q), q)\n";
  const auto attention =
      Discover(ModelWith(memory + "    x = x + torch.scaled_dot_product_attention(q, m, m)\n"));
  ASSERT_TRUE(attention.ok()) << attention.status();
  EXPECT_THAT(attention->site_of, ElementsAre(0, 1, kNotASite));
  ASSERT_EQ(attention->skipped.size(), 1);
  EXPECT_THAT(attention->skipped[0].reason, HasSubstr("it is cross attention"));
  EXPECT_EQ(attention->sites[0].group, "decoder");
  EXPECT_EQ(attention->sites[1].group, "encoder");
}

TEST(AttentionDiscoveryTest, SoftmaxThatIsNoAttentionIsSkipped) {
  EXPECT_THAT(ReasonToSkip("    x = torch.softmax(x, -1)\n"), HasSubstr("a softmax over 8 values"));
}

// [B·H, S, S] all the way: what does not grow with B is the number of heads.
TEST(AttentionDiscoveryTest, HeadsThatNeverComeApartAreCounted) {
  const auto attention =
      Discover(ModelWith("    f = torch.cat([q, q * 0.5, q * 2], 1).reshape([-1, q.size(2), 8])\n"
                         "    p = torch.softmax(torch.bmm(f, f.transpose(1, 2)), -1)\n"
                         "    x = x + torch.bmm(p, f).sum()\n"));
  ASSERT_TRUE(attention.ok()) << attention.status();
  EXPECT_THAT(attention->site_heads, ElementsAre(1, 3));
  EXPECT_THAT(attention->folded_heads, ElementsAre(1, 3));
}

TEST(AttentionDiscoveryTest, SoftmaxOfThreeDimensionsIsASingleHead) {
  const auto attention =
      Discover(ModelWith("    x = x + torch.softmax(torch.matmul(q, q.transpose(2, 3))[:, 0], -1).sum()\n"));
  ASSERT_TRUE(attention.ok()) << attention.status();
  EXPECT_THAT(attention->site_heads, ElementsAre(1, 1));
}

// Its softmax sees [B·H, S, S]; only the mask, before it, is added with the heads apart.
TEST(AttentionDiscoveryTest, HeadsThatAreFoldedIntoTheBatchAreToldApart) {
  const auto attention =
      Discover(ModelWith("    f = torch.cat([q, q * 0.5], 1).reshape([-1, q.size(2), 8])\n"
                         "    s = torch.bmm(f, f.transpose(1, 2))\n"
                         "    m = s.view([-1, 2, s.size(1), s.size(2)]) + attention_mask[:, None, None, :]\n"
                         "    p = torch.softmax(m.view([-1, s.size(1), s.size(2)]), -1)\n"
                         "    x = x + torch.bmm(p, f).sum()\n"));
  ASSERT_TRUE(attention.ok()) << attention.status();
  EXPECT_THAT(attention->skipped, IsEmpty());
  EXPECT_THAT(attention->site_heads, ElementsAre(1, 2));
}

TEST(AttentionDiscoveryTest, AttentionOverWindowsIsSkipped) {
  const std::string reason = ReasonToSkip(
      "    w = q.reshape([q.size(0) * 2, 1, -1, 8])\n    x = x + torch.scaled_dot_product_attention(w, w, "
      "w).sum()\n");
  EXPECT_THAT(reason, HasSubstr("it is over 2 x 4 positions, not over the sequences of the input"));
}

// Such as a gate over heads: [B, H, S, S], but not what a row attends to.
TEST(AttentionDiscoveryTest, SoftmaxAlongAnotherDimensionIsSkipped) {
  EXPECT_THAT(ReasonToSkip("    x = x + torch.softmax(torch.matmul(q, q.transpose(2, 3)), 2).sum()\n"),
              HasSubstr("rows do not sum to 1"));
}

// It has a number, so that it does not run unseen.
TEST(AttentionDiscoveryTest, BranchThatDidNotRunIsNoSite) {
  const auto attention = Discover(
      ModelWith("    if input_ids.size(0) > 5:\n        x = torch.scaled_dot_product_attention(x, x, x)\n"));
  ASSERT_TRUE(attention.ok()) << attention.status();
  EXPECT_EQ(attention->sites.size(), 1);
  EXPECT_THAT(attention->site_of, ElementsAre(0, 1));
  ASSERT_EQ(attention->skipped.size(), 1);
  EXPECT_EQ(attention->skipped[0].reason, "it did not run on the inputs that were tried");
  EXPECT_FALSE(attention->depends_on_input);
}

TEST(AttentionDiscoveryTest, BranchThatRanForOneBatchDependsOnTheInput) {
  const auto attention = Discover(
      ModelWith("    if input_ids.size(0) > 1:\n        x = torch.scaled_dot_product_attention(x, x, x)\n"));
  ASSERT_TRUE(attention.ok()) << attention.status();
  EXPECT_TRUE(attention->depends_on_input);
  EXPECT_THAT(attention->runs, ElementsAre(ElementsAre(0), ElementsAre(0, 1)));
  EXPECT_THAT(attention->execution_order, ElementsAre(0, 1));
}

TEST(AttentionDiscoveryTest, LoopWhoseLengthDependsOnTheInputIsRead) {
  const auto attention = Discover(ModelWith(
      "    for i in range(input_ids.size(0)):\n        x = torch.scaled_dot_product_attention(x, x, x)\n"));
  ASSERT_TRUE(attention.ok()) << attention.status();
  EXPECT_TRUE(attention->depends_on_input);
  EXPECT_THAT(attention->runs, ElementsAre(ElementsAre(0, 1), ElementsAre(0, 1, 1)));
}

TEST(AttentionDiscoveryTest, ModelWithoutCandidatesHasNoSites) {
  const auto attention =
      Discover(ModuleOf("def forward(self, input_ids, attention_mask):\n    return input_ids * 1.0\n"));
  ASSERT_TRUE(attention.ok()) << attention.status();
  EXPECT_THAT(attention->sites, IsEmpty());
  EXPECT_THAT(attention->skipped, IsEmpty());
}

TEST(AttentionDiscoveryTest, HeadsAreThoseOfEachSite) {
  const auto attention =
      Discover(ModelWith("    w = q.reshape([q.size(0), -1, 4, 2]).transpose(1, 2)\n    x = x.sum() + "
                         "torch.scaled_dot_product_attention(w, w, w)\n"));
  ASSERT_TRUE(attention.ok()) << attention.status();
  EXPECT_THAT(attention->site_heads, ElementsAre(1, 4));
}

TEST(AttentionDiscoveryTest, ModelThatThrowsGivesItsError) {
  const auto attention = Discover(ModelWith("    assert input_ids.size(0) > 5, 'too few'\n"));
  EXPECT_EQ(attention.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(attention.status().message()), HasSubstr("too few"));
}

}  // namespace
}  // namespace attribution::capture
