#include "server/capture/rewrite_attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/ir/irparser.h>
#include <torch/csrc/jit/passes/common_subexpression_elimination.h>
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/testing/file_check.h>

#include <memory>
#include <string>

#include "server/capture/attention_operators.h"
#include "server/capture/graph_plan.h"
#include "server/capture/inlined_graph.h"
#include "tests/capture/collecting_observer.h"

namespace attribution::capture {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::testing::FileCheck;

std::shared_ptr<Graph> Parse(const std::string& text) {
  auto graph = std::make_shared<Graph>();
  torch::jit::parseIR(text, graph.get());
  return graph;
}

// Every node of a kind, nested blocks included, in order.
std::vector<Node*> NodesOf(torch::jit::Block* block, c10::Symbol kind) {
  std::vector<Node*> nodes;
  for (Node* node : block->nodes()) {
    if (node->kind() == kind) nodes.push_back(node);
    for (torch::jit::Block* inner : node->blocks()) {
      for (Node* found : NodesOf(inner, kind)) nodes.push_back(found);
    }
  }
  return nodes;
}

size_t Count(const Graph& graph, c10::Symbol kind) {
  return NodesOf(const_cast<Graph&>(graph).block(), kind).size();
}

int64_t SiteOf(const Node* node) {
  const size_t input = node->kind() == TapSymbol() ? 1 : 8;
  return torch::jit::toIValue(node->input(input))->toInt();
}

bool NeedsOutput(const Node* node) { return torch::jit::toIValue(node->input(10))->toBool(); }

constexpr char kConstants[] = R"(
  %one : int = prim::Constant[value=-1]()
  %nothing : NoneType = prim::Constant()
  %zero : float = prim::Constant[value=0.]()
  %no : bool = prim::Constant[value=0]()
)";

const std::string kFused = std::string("graph(%q : Tensor, %k : Tensor, %v : Tensor):") + kConstants + R"(
  %a : Tensor = aten::scaled_dot_product_attention(%q, %k, %v, %nothing, %zero, %no, %nothing, %no)
  %b : Tensor = aten::relu(%a)
  return (%b))";

const std::string kSoftmax = std::string("graph(%x : Tensor, %v : Tensor):") + kConstants + R"(
  %p : Tensor = aten::softmax(%x, %one, %nothing)
  %y : Tensor = aten::matmul(%p, %v)
  return (%y))";

// The same scores twice: to the optimiser one computation.
const std::string kTwins = std::string("graph(%x : Tensor, %q : Tensor):") + kConstants + R"(
  %p : Tensor = aten::softmax(%x, %one, %nothing)
  %r : Tensor = aten::softmax(%x, %one, %nothing)
  %a : Tensor = aten::scaled_dot_product_attention(%q, %q, %q, %nothing, %zero, %no, %nothing, %no)
  %b : Tensor = aten::scaled_dot_product_attention(%q, %q, %q, %nothing, %zero, %no, %nothing, %no)
  return (%p, %r, %a, %b))";

TEST(RewriteAttentionTest, ReplacesTheFusedNode) {
  const auto graph = Parse(kFused);
  const Node* fused =
      NodesOf(graph->block(), c10::Symbol::fromQualString("aten::scaled_dot_product_attention")).at(0);
  const std::vector<const torch::jit::Value*> given = fused->inputs().vec();
  RewriteAttention(*graph, {3});
  EXPECT_EQ(Count(*graph, c10::Symbol::fromQualString("aten::scaled_dot_product_attention")), 0);
  const Node* blocked = NodesOf(graph->block(), BlockedAttentionSymbol()).at(0);
  EXPECT_EQ(blocked->inputs().slice(0, given.size()).vec(), given);
  EXPECT_EQ(SiteOf(blocked), 3);
  EXPECT_EQ(NodesOf(graph->block(), c10::Symbol::fromQualString("aten::relu")).at(0)->input(0),
            blocked->output());
}

TEST(RewriteAttentionTest, TapsTheSoftmaxAndHandsItsValueOn) {
  const auto graph = Parse(kSoftmax);
  RewriteAttention(*graph, {7});
  const Node* tap = NodesOf(graph->block(), TapSymbol()).at(0);
  EXPECT_EQ(SiteOf(tap), 7);
  EXPECT_EQ(tap->input(0)->node()->kind(), c10::Symbol::fromQualString("aten::softmax"));
  EXPECT_EQ(NodesOf(graph->block(), c10::Symbol::fromQualString("aten::matmul")).at(0)->input(0),
            tap->output());
}

TEST(RewriteAttentionTest, AddsTheObserverAsTheLastInput) {
  const auto graph = Parse(kSoftmax);
  RewriteAttention(*graph, {0});
  ASSERT_EQ(graph->inputs().size(), 3);
  EXPECT_EQ(*graph->inputs()[2]->type(), *ObserverType());
  EXPECT_EQ(NodesOf(graph->block(), TapSymbol()).at(0)->input(3), graph->inputs()[2]);
}

TEST(RewriteAttentionTest, LeavesCandidatesThatAreNoSites) {
  const auto graph = Parse(kTwins);
  RewriteAttention(*graph, {kNotASite, 0, 1, kNotASite});
  EXPECT_EQ(Count(*graph, TapSymbol()), 1);
  EXPECT_EQ(Count(*graph, BlockedAttentionSymbol()), 1);
  EXPECT_EQ(Count(*graph, c10::Symbol::fromQualString("aten::softmax")), 2);
  EXPECT_EQ(Count(*graph, c10::Symbol::fromQualString("aten::scaled_dot_product_attention")), 1);
  EXPECT_EQ(graph->outputs()[0]->node()->kind(), c10::Symbol::fromQualString("aten::softmax"));
  EXPECT_EQ(graph->outputs()[1]->node()->kind(), TapSymbol());
}

TEST(RewriteAttentionTest, RefusesAnotherNumberOfCandidates) {
  const auto graph = Parse(kTwins);
  EXPECT_THROW(RewriteAttention(*graph, {0}), c10::Error);
}

TEST(RewriteAttentionTest, TapsARawSoftmax) {
  const auto graph = Parse(std::string("graph(%x : Tensor):") + kConstants + R"(
  %p : Tensor = aten::_softmax(%x, %one, %no)
  return (%p))");
  RewriteAttention(*graph, {0});
  FileCheck().check("aten::_softmax")->check("attribution::tap")->run(*graph);
}

TEST(RewriteAttentionTest, RewritesInsideBranchesAndLoops) {
  const auto graph = Parse(std::string("graph(%x : Tensor, %c : bool, %n : int):") + kConstants + R"(
  %yes : bool = prim::Constant[value=1]()
  %y : Tensor = prim::If(%c)
    block0():
      %p : Tensor = aten::softmax(%x, %one, %nothing)
      -> (%p)
    block1():
      %a : Tensor = aten::scaled_dot_product_attention(%x, %x, %x, %nothing, %zero, %no, %nothing, %no)
      -> (%a)
  %z : Tensor = prim::Loop(%n, %yes, %y)
    block0(%i : int, %h : Tensor):
      %r : Tensor = aten::softmax(%h, %one, %nothing)
      -> (%yes, %r)
  return (%z))");
  RewriteAttention(*graph, {0, 1, 2});
  FileCheck()
      .check("prim::If")
      ->check("attribution::tap")
      ->check("block1")
      ->check("attribution::blocked_attention")
      ->check("prim::Loop")
      ->check("attribution::tap")
      ->run(*graph);
  const auto taps = NodesOf(graph->block(), TapSymbol());
  EXPECT_EQ(SiteOf(taps[0]), 0);
  EXPECT_EQ(SiteOf(taps[1]), 2);
  EXPECT_EQ(taps[1]->owningBlock()->outputs()[1], taps[1]->output()) << "the loop carries the tapped value";
}

TEST(RewriteAttentionTest, FillsInTheArgumentsThatOlderFilesLack) {
  auto graph = std::make_shared<Graph>();
  torch::jit::Value* x = graph->addInput("x")->setType(c10::TensorType::get());
  torch::jit::Value* nothing = graph->insertConstant(torch::jit::IValue());
  torch::jit::Value* zero = graph->insertConstant(0.0);
  torch::jit::Value* yes = graph->insertConstant(true);
  Node* old = graph->create(c10::Symbol::fromQualString("aten::scaled_dot_product_attention"),
                            {x, x, x, nothing, zero, yes}, 1);
  graph->registerOutput(graph->insertNode(old)->output());
  RewriteAttention(*graph, {0});
  const Node* blocked = NodesOf(graph->block(), BlockedAttentionSymbol()).at(0);
  ASSERT_EQ(blocked->inputs().size(), 12);
  EXPECT_TRUE(torch::jit::toIValue(blocked->input(5))->toBool()) << "is_causal as the file says";
  EXPECT_TRUE(torch::jit::toIValue(blocked->input(6))->isNone());
  EXPECT_FALSE(torch::jit::toIValue(blocked->input(7))->toBool());
  CollectingObserver observer;
  const at::Tensor query = at::randn({1, 2, 5, 4});
  const auto outputs = GraphPlan(graph, "old").Run({query}, &observer);
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  const at::Tensor expected =
      at::scaled_dot_product_attention(query, query, query, {}, 0, /*is_causal=*/true);
  EXPECT_LE(LargestDifference((*outputs)[0].toTensor(), expected), 1e-5);
}

TEST(RewriteAttentionTest, WhatAnOlderFileLeavesOutIsOff) {
  auto graph = std::make_shared<Graph>();
  torch::jit::Value* x = graph->addInput("x")->setType(c10::TensorType::get());
  torch::jit::Value* nothing = graph->insertConstant(torch::jit::IValue());
  Node* old =
      graph->create(c10::Symbol::fromQualString("aten::scaled_dot_product_attention"), {x, x, x, nothing}, 1);
  graph->registerOutput(graph->insertNode(old)->output());
  RewriteAttention(*graph, {0});
  const Node* blocked = NodesOf(graph->block(), BlockedAttentionSymbol()).at(0);
  EXPECT_EQ(torch::jit::toIValue(blocked->input(4))->toDouble(), 0) << "dropout";
  EXPECT_FALSE(torch::jit::toIValue(blocked->input(5))->toBool()) << "is_causal";
  EXPECT_TRUE(torch::jit::toIValue(blocked->input(6))->isNone()) << "scale";
  EXPECT_FALSE(torch::jit::toIValue(blocked->input(7))->toBool()) << "enable_gqa";
}

TEST(RewriteAttentionTest, SurvivesDeadCodeElimination) {
  const auto graph = Parse(kTwins);
  RewriteAttention(*graph, {0, 1, 2, 3});
  while (!graph->outputs().empty()) graph->eraseOutput(graph->outputs().size() - 1);
  torch::jit::EliminateDeadCode(graph);
  EXPECT_EQ(Count(*graph, TapSymbol()), 2);
  EXPECT_EQ(Count(*graph, BlockedAttentionSymbol()), 2);
}

TEST(RewriteAttentionTest, SurvivesCommonSubexpressionElimination) {
  const std::string text = std::string("graph(%x : Tensor, %q : Tensor):") + kConstants + R"(
  %p : Tensor = aten::softmax(%x, %one, %nothing)
  %r : Tensor = aten::softmax(%x, %one, %nothing)
  %y : Tensor = aten::matmul(%p, %r)
  %a : Tensor = aten::scaled_dot_product_attention(%q, %q, %q, %nothing, %zero, %no, %nothing, %no)
  %b : Tensor = aten::scaled_dot_product_attention(%q, %q, %q, %nothing, %zero, %no, %nothing, %no)
  %z : Tensor = aten::matmul(%a, %b)
  %o : Tensor = aten::matmul(%y, %z)
  return (%o))";
  const auto original = Parse(text);
  torch::jit::EliminateCommonSubexpression(original);
  ASSERT_EQ(Count(*original, c10::Symbol::fromQualString("aten::softmax")), 1)
      << "the pass merges what is alike";
  const auto graph = Parse(text);
  RewriteAttention(*graph, {0, 0, 1, 1});  // even where two sites look alike
  torch::jit::EliminateCommonSubexpression(graph);
  EXPECT_EQ(Count(*graph, TapSymbol()), 2);
  EXPECT_EQ(Count(*graph, BlockedAttentionSymbol()), 2);
}

TEST(RewriteAttentionTest, SurvivesConstantPropagationAsFreezingDoesIt) {
  const std::string text = std::string("graph(%u : Tensor):") + kConstants + R"(
  %four : int = prim::Constant[value=4]()
  %sizes : int[] = prim::ListConstruct(%four, %four)
  %x : Tensor = aten::ones(%sizes, %nothing, %nothing, %nothing, %nothing)
  %p : Tensor = aten::softmax(%x, %one, %nothing)
  return (%p))";
  std::shared_ptr<Graph> original = Parse(text);
  torch::jit::ConstantPropagation(original);
  ASSERT_EQ(Count(*original, c10::Symbol::fromQualString("aten::softmax")), 0)
      << "the pass computes constants";
  std::shared_ptr<Graph> graph = Parse(text);
  RewriteAttention(*graph, {0});
  torch::jit::ConstantPropagation(graph);
  EXPECT_EQ(Count(*graph, TapSymbol()), 1);
}

TEST(CutAfterLastSiteTest, DropsWhatFollowsAndTheOutputs) {
  const auto graph = Parse(kFused);
  RewriteAttention(*graph, {0});
  CutAfterLastSite(*graph);
  EXPECT_TRUE(graph->outputs().empty());
  FileCheck().check("attribution::blocked_attention")->check_not("aten::relu")->run(*graph);
}

TEST(CutAfterLastSiteTest, KeepsWhatTheTapsNeed) {
  const auto graph = Parse(std::string("graph(%x : Tensor):") + kConstants + R"(
  %s : Tensor = aten::tanh(%x)
  %p : Tensor = aten::softmax(%s, %one, %nothing)
  %m : Tensor = aten::matmul(%p, %x)
  %r : Tensor = aten::softmax(%m, %one, %nothing)
  %y : Tensor = aten::relu(%r)
  return (%y))");
  RewriteAttention(*graph, {0, 1});
  CutAfterLastSite(*graph);
  EXPECT_EQ(Count(*graph, TapSymbol()), 2);
  FileCheck().check("aten::tanh")->check("aten::matmul")->check_not("aten::relu")->run(*graph);
}

TEST(CutAfterLastSiteTest, KeepsTheTapsOfParallelBranches) {
  const auto graph = Parse(std::string("graph(%x : Tensor):") + kConstants + R"(
  %left : Tensor = aten::softmax(%x, %one, %nothing)
  %a : Tensor = aten::relu(%left)
  %other : Tensor = aten::tanh(%x)
  %right : Tensor = aten::softmax(%other, %one, %nothing)
  %b : Tensor = aten::sigmoid(%right)
  %y : Tensor = aten::matmul(%a, %b)
  return (%y))");
  RewriteAttention(*graph, {0, 1});
  CutAfterLastSite(*graph);
  EXPECT_EQ(Count(*graph, TapSymbol()), 2);
  FileCheck().check("aten::tanh")->check_not("aten::matmul")->run(*graph);
}

TEST(CutAfterLastSiteTest, KeepsTheTapInABranch) {
  const auto graph = Parse(std::string("graph(%x : Tensor, %c : bool):") + kConstants + R"(
  %y : Tensor = prim::If(%c)
    block0():
      %p : Tensor = aten::softmax(%x, %one, %nothing)
      %z : Tensor = aten::relu(%p)
      -> (%z)
    block1():
      -> (%x)
  return (%y))");
  RewriteAttention(*graph, {0});
  CutAfterLastSite(*graph);
  EXPECT_EQ(Count(*graph, TapSymbol()), 1);
  EXPECT_EQ(Count(*graph, c10::Symbol::fromQualString("aten::relu")), 0);
}

TEST(CutAfterLastSiteTest, SkipsOnlyOutputsThatNobodyReads) {
  const auto graph = Parse(std::string("graph(%q : Tensor):") + kConstants + R"(
  %a : Tensor = aten::scaled_dot_product_attention(%q, %q, %q, %nothing, %zero, %no, %nothing, %no)
  %b : Tensor = aten::scaled_dot_product_attention(%a, %a, %a, %nothing, %zero, %no, %nothing, %no)
  %c : Tensor = aten::relu(%b)
  return (%c))");
  RewriteAttention(*graph, {0, 1});
  auto nodes = NodesOf(graph->block(), BlockedAttentionSymbol());
  EXPECT_TRUE(NeedsOutput(nodes[0]) && NeedsOutput(nodes[1])) << "before the cut both are read";
  CutAfterLastSite(*graph);
  nodes = NodesOf(graph->block(), BlockedAttentionSymbol());
  EXPECT_TRUE(NeedsOutput(nodes[0]));
  EXPECT_FALSE(NeedsOutput(nodes[1]));
}

TEST(CutAfterLastSiteTest, KeepsTheOutputThatALoopCarries) {
  const auto graph = Parse(std::string("graph(%q : Tensor, %n : int):") + kConstants + R"(
  %yes : bool = prim::Constant[value=1]()
  %z : Tensor = prim::Loop(%n, %yes, %q)
    block0(%i : int, %h : Tensor):
      %a : Tensor = aten::scaled_dot_product_attention(%h, %h, %h, %nothing, %zero, %no, %nothing, %no)
      -> (%yes, %a)
  return (%z))");
  RewriteAttention(*graph, {0});
  CutAfterLastSite(*graph);
  const auto nodes = NodesOf(graph->block(), BlockedAttentionSymbol());
  ASSERT_EQ(nodes.size(), 1);
  EXPECT_TRUE(NeedsOutput(nodes[0])) << "the next turn reads it";
}

}  // namespace
}  // namespace attribution::capture
