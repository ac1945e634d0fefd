#include "server/capture/self_check.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "server/capture/attention_discovery.h"
#include "server/capture/attention_operators.h"
#include "server/capture/rewrite_attention.h"
#include "tests/capture/tiny_model.h"

namespace attribution::capture {
namespace {

using testing::HasSubstr;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Stack;

const std::vector<RunnerInput> kInputs = {{"input_ids", InputRole::kInputIds},
                                          {"attention_mask", InputRole::kAttentionMask}};

// The rewritten nodes at the top of a graph.
std::vector<Node*> Rewritten(Graph& graph) {
  std::vector<Node*> nodes;
  for (Node* node : graph.nodes()) {
    if (node->kind() == BlockedAttentionSymbol() || node->kind() == TapSymbol()) nodes.push_back(node);
  }
  return nodes;
}

class SelfCheckTest : public testing::Test {
 protected:
  void Use(bool fused) {
    model_ = MakeTinyModel(2, fused);
    inlined_ = InlineForward(model_.module);
    batch_ = MakeWarmUpBatch(kInputs, 2, 9, kTinyVocabulary, /*seed=*/0, at::kCPU);
    Stack stack{model_.module._ivalue()};
    stack.insert(stack.end(), batch_.inputs.begin(), batch_.inputs.end());
    expected_ = *GraphPlan(inlined_.graph->copy(), "original").Run(stack, nullptr);
    attention_ = *DiscoverAttention(model_.module, inlined_, {batch_}, "");
    rewritten_ = inlined_.graph->copy();
    RewriteAttention(*rewritten_, attention_.site_of);
    cut_ = rewritten_->copy();
    CutAfterLastSite(*cut_);
  }

  absl::Status Check() const {
    return CheckRewrittenGraph(model_.module, GraphPlan(rewritten_, "rewritten"), GraphPlan(cut_, "cut"),
                               attention_.sites, attention_.execution_order, batch_, expected_)
        .status();
  }

  void ExpectRefused(const std::string& sentence) const {
    const absl::Status status = Check();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr(sentence));
  }

  TinyModel model_;
  InlinedGraph inlined_;
  WarmUpBatch batch_;
  Stack expected_;
  DiscoveredAttention attention_;
  std::shared_ptr<Graph> rewritten_;
  std::shared_ptr<Graph> cut_;
};

TEST_F(SelfCheckTest, PassesARightRewrite) {
  for (const bool fused : {true, false}) {
    Use(fused);
    EXPECT_TRUE(Check().ok()) << Check();
  }
}

TEST_F(SelfCheckTest, RefusesAChangedScale) {
  Use(/*fused=*/true);
  Node* blocked = Rewritten(*rewritten_).at(1);
  const torch::jit::WithInsertPoint before(blocked);
  blocked->replaceInput(6, rewritten_->insertConstant(0.1));
  ExpectRefused("The rewritten model does not give the original's output. Output 0 differs by ");
}

TEST_F(SelfCheckTest, RefusesALostMask) {
  Use(/*fused=*/true);
  Node* blocked = Rewritten(*rewritten_).at(0);
  const torch::jit::WithInsertPoint before(blocked);
  blocked->replaceInput(3, rewritten_->insertConstant(torch::jit::IValue()));
  ExpectRefused("The rewritten model does not give the original's output.");
}

TEST_F(SelfCheckTest, RefusesALostSite) {
  Use(/*fused=*/true);
  rewritten_ = inlined_.graph->copy();
  RewriteAttention(*rewritten_, {kNotASite, 1});
  ExpectRefused("The rewritten model does not show every attention layer. It shows 1 of 2.");
}

TEST_F(SelfCheckTest, RefusesACutThatLostATap) {
  Use(/*fused=*/false);
  Node* tap = Rewritten(*cut_).at(1);
  tap->output()->replaceAllUsesWith(tap->input(0));
  tap->destroy();
  ExpectRefused("The rewritten model does not show every attention layer. It shows 1 of 2.");
}

TEST_F(SelfCheckTest, RefusesSitesThatChangedPlaces) {
  Use(/*fused=*/true);
  rewritten_ = inlined_.graph->copy();
  RewriteAttention(*rewritten_, {1, 0});
  ExpectRefused("The rewritten model does not show every attention layer.");
}

TEST_F(SelfCheckTest, RefusesWhatIsNotADistribution) {
  Use(/*fused=*/false);
  Node* tap = Rewritten(*cut_).at(1);
  tap->replaceInput(0, tap->input(0)->node()->input(0));  // the scores before the softmax
  ExpectRefused(
      "The attention of a layer is not a probability distribution. Rows of layer 1 (layers.1) are off 1 by ");
}

TEST_F(SelfCheckTest, RefusesAnotherNumberOfOutputs) {
  Use(/*fused=*/true);
  rewritten_->eraseOutput(0);
  ExpectRefused(
      "The rewritten model has other outputs than the original. It gives 0 tensors, the original 1.");
}

TEST_F(SelfCheckTest, RefusesNanWhereTheOriginalHasNone) {
  Use(/*fused=*/true);
  Node* blocked = Rewritten(*rewritten_).at(1);
  const torch::jit::WithInsertPoint before(blocked);
  blocked->replaceInput(6, rewritten_->insertConstant(std::numeric_limits<double>::quiet_NaN()));
  ExpectRefused("The rewritten model does not give the original's output.");
}

TEST_F(SelfCheckTest, WhatTheOriginalLeavesUndefinedMayDiffer) {
  Use(/*fused=*/true);
  expected_[0] = at::full(expected_[0].toTensor().sizes(), std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(Check().ok()) << Check();
}

TEST(AllFiniteTest, LooksIntoTuplesListsAndDictionaries) {
  const at::Tensor good = at::ones({2});
  const at::Tensor bad = at::full({2}, std::numeric_limits<float>::infinity());
  c10::Dict<std::string, at::Tensor> dictionary;
  dictionary.insert("logits", bad);
  EXPECT_TRUE(AllFinite({good, c10::ivalue::Tuple::create({good, at::ones({1}, at::kLong)})}));
  EXPECT_FALSE(AllFinite({good, bad}));
  EXPECT_FALSE(AllFinite({c10::ivalue::Tuple::create({good, bad})}));
  EXPECT_FALSE(AllFinite({c10::List<at::Tensor>({good, bad})}));
  EXPECT_FALSE(AllFinite({dictionary}));
}

}  // namespace
}  // namespace attribution::capture
