#include "server/capture/eager_attention.h"

#include <gtest/gtest.h>
#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/ir/irparser.h>

#include <memory>
#include <string>
#include <vector>

#include "server/capture/inlined_graph.h"

namespace attribution::capture {
namespace {

using torch::jit::Graph;

std::shared_ptr<Graph> Parse(const std::string& body) {
  const std::string text = R"(graph(%q : Tensor, %k : Tensor, %v : Tensor, %bias : Tensor, %hidden : Tensor):
  %minus : int = prim::Constant[value=-1]()
  %one : int = prim::Constant[value=1]()
  %two : int = prim::Constant[value=2]()
  %float : int = prim::Constant[value=6]()
  %long : int = prim::Constant[value=4]()
  %nothing : NoneType = prim::Constant()
  %half : float = prim::Constant[value=0.5]()
  %no : bool = prim::Constant[value=0]()
  %yes : bool = prim::Constant[value=1]()
)" + body;
  auto graph = std::make_shared<Graph>();
  torch::jit::parseIR(text, graph.get());
  return graph;
}

EagerAttention Match(const std::shared_ptr<Graph>& graph) {
  return MatchEagerAttention(CandidateNodes(*graph).at(0));
}

struct Refused {
  const char* name;
  const char* body;
  const char* why;
};

TEST(EagerAttentionTest, RecognisesEveryOperatorThatWorksCellByCell) {
  const auto graph = Parse(R"(
  %s1 : Tensor = aten::matmul(%q, %k)
  %s2 : Tensor = aten::mul(%s1, %half)
  %s3 : Tensor = aten::div(%s2, %half)
  %s4 : Tensor = aten::tanh(%s3)
  %s5 : Tensor = aten::add(%bias, %s4, %one)
  %s6 : Tensor = aten::add_(%s5, %bias, %one)
  %s7 : Tensor = aten::sub(%s6, %bias, %one)
  %s8 : Tensor = aten::sub(%bias, %s7, %one)
  %s9 : Tensor = aten::masked_fill(%s8, %hidden, %half)
  %s10 : Tensor = aten::where(%hidden, %s9, %bias)
  %s11 : Tensor = aten::where(%hidden, %bias, %s10)
  %s12 : Tensor = aten::maximum(%s11, %bias)
  %s13 : Tensor = aten::min(%s12, %bias)
  %s14 : Tensor = aten::to(%s13, %float, %no, %no, %nothing)
  %p : Tensor = aten::softmax(%s14, %minus, %nothing)
  %d : Tensor = aten::dropout(%p, %half, %no)
  %c : Tensor = aten::contiguous(%d, %one)
  %o : Tensor = aten::matmul(%c, %v)
  return (%o))");
  const EagerAttention attention = Match(graph);
  ASSERT_EQ(attention.refusal, "");
  std::vector<ScoreOperation> operations;
  for (const ScoreStep& step : attention.score_steps) operations.push_back(step.operation);
  using enum ScoreOperation;
  EXPECT_EQ(operations,
            (std::vector<ScoreOperation>{kMultiply, kDivide, kTanh, kAdd, kAdd, kSubtract, kSubtractFrom,
                                         kMaskedFill, kKeepWhere, kMaskedFill, kMaximum, kMinimum}));
  EXPECT_TRUE(attention.probability_steps.empty());
  EXPECT_EQ(attention.nodes.size(), 18);
  EXPECT_EQ(attention.nodes.front(), attention.scores);
  EXPECT_EQ(attention.nodes.back(), attention.output);
}

TEST(EagerAttentionTest, TakesInWhatComputesSizesForAReshape) {
  const auto graph = Parse(R"(
  %s : Tensor = aten::bmm(%q, %k)
  %rows : int = aten::size(%s, %minus)
  %as_tensor : Tensor = prim::NumToTensor(%rows)
  %again : int = aten::Int(%as_tensor)
  %sizes : int[] = prim::ListConstruct(%minus, %two, %again, %rows)
  %apart : Tensor = aten::view(%s, %sizes)
  %p : Tensor = aten::softmax(%apart, %minus, %nothing)
  %length : int = aten::size(%p, %minus)
  %folded : int[] = prim::ListConstruct(%minus, %length, %length)
  %w : Tensor = aten::view(%p, %folded)
  %o : Tensor = aten::bmm(%w, %v)
  return (%o))");
  const EagerAttention attention = Match(graph);
  ASSERT_EQ(attention.refusal, "");
  EXPECT_EQ(attention.score_steps.size(), 1);
  EXPECT_EQ(attention.probability_steps.size(), 1);
  EXPECT_EQ(attention.nodes.size(), 11);
}

class EagerAttentionRefusalTest : public testing::TestWithParam<Refused> {};

TEST_P(EagerAttentionRefusalTest, SaysWhy) {
  EXPECT_EQ(Match(Parse(GetParam().body)).refusal, GetParam().why);
}

INSTANTIATE_TEST_SUITE_P(
    Graphs, EagerAttentionRefusalTest,
    testing::Values(Refused{"NoProduct", R"(
  %p : Tensor = aten::softmax(%q, %minus, %nothing)
  %o : Tensor = aten::matmul(%p, %v)
  return (%o))",
                            "no product of queries and keys leads to it in its own block"},
                    Refused{"ForeignOperator", R"(
  %s : Tensor = aten::matmul(%q, %k)
  %e : Tensor = aten::cumsum(%s, %minus, %nothing)
  %p : Tensor = aten::softmax(%e, %minus, %nothing)
  %o : Tensor = aten::matmul(%p, %v)
  return (%o))",
                            "aten::cumsum stands between its scores and its softmax"},
                    Refused{"ProbabilitiesReturned", R"(
  %s : Tensor = aten::matmul(%q, %k)
  %p : Tensor = aten::softmax(%s, %minus, %nothing)
  %o : Tensor = aten::matmul(%p, %v)
  return (%o, %p))",
                            "its probabilities are handed on as a result"},
                    Refused{"ProbabilitiesReadTwice", R"(
  %s : Tensor = aten::matmul(%q, %k)
  %p : Tensor = aten::softmax(%s, %minus, %nothing)
  %o : Tensor = aten::matmul(%p, %v)
  %m : Tensor = aten::relu(%p)
  return (%o, %m))",
                            "its probabilities are read by aten::relu too"},
                    Refused{"ScoresReadTwice", R"(
  %s : Tensor = aten::matmul(%q, %k)
  %p : Tensor = aten::softmax(%s, %minus, %nothing)
  %o : Tensor = aten::matmul(%p, %v)
  %m : Tensor = aten::mul(%s, %half)
  return (%o, %m))",
                            "its scores, probabilities or their sizes are read by aten::mul too"},
                    Refused{"SizesReadElsewhere", R"(
  %s : Tensor = aten::matmul(%q, %k)
  %n : int = aten::size(%s, %minus)
  %p : Tensor = aten::softmax(%s, %minus, %nothing)
  %o : Tensor = aten::matmul(%p, %v)
  %m : Tensor = aten::add(%o, %n, %one)
  return (%m))",
                            "its scores, probabilities or their sizes are read by aten::add too"},
                    Refused{"GateAfterSoftmax", R"(
  %s : Tensor = aten::matmul(%q, %k)
  %p : Tensor = aten::softmax(%s, %minus, %nothing)
  %g : Tensor = aten::mul(%p, %bias)
  %o : Tensor = aten::matmul(%g, %v)
  return (%o))",
                            "aten::mul stands between its softmax and its values"},
                    Refused{"ActiveDropout", R"(
  %s : Tensor = aten::matmul(%q, %k)
  %p : Tensor = aten::softmax(%s, %minus, %nothing)
  %d : Tensor = aten::dropout(%p, %half, %yes)
  %o : Tensor = aten::matmul(%d, %v)
  return (%o))",
                            "aten::dropout stands between its softmax and its values"},
                    Refused{"ProbabilitiesOnTheRight", R"(
  %s : Tensor = aten::matmul(%q, %k)
  %p : Tensor = aten::softmax(%s, %minus, %nothing)
  %o : Tensor = aten::matmul(%v, %p)
  return (%o))",
                            "its probabilities are read by aten::matmul too"},
                    Refused{"ScoresWithThemselves", R"(
  %s : Tensor = aten::matmul(%q, %k)
  %t : Tensor = aten::mul(%s, %s)
  %p : Tensor = aten::softmax(%t, %minus, %nothing)
  %o : Tensor = aten::matmul(%p, %v)
  return (%o))",
                            "its scores are combined with themselves"},
                    Refused{"RoundedScores", R"(
  %s : Tensor = aten::matmul(%q, %k)
  %t : Tensor = aten::to(%s, %long, %no, %no, %nothing)
  %p : Tensor = aten::softmax(%t, %minus, %float)
  %o : Tensor = aten::matmul(%p, %v)
  return (%o))",
                            "aten::to stands between its scores and its softmax"},
                    Refused{"BiasChangedInPlace", R"(
  %s : Tensor = aten::matmul(%q, %k)
  %t : Tensor = aten::add_(%bias, %s, %one)
  %p : Tensor = aten::softmax(%t, %minus, %nothing)
  %o : Tensor = aten::matmul(%p, %v)
  return (%o))",
                            "no product of queries and keys leads to it in its own block"},
                    Refused{"OtherBlock", R"(
  %s : Tensor = aten::matmul(%q, %k)
  %o : Tensor = prim::If(%yes)
    block0():
      %p : Tensor = aten::softmax(%s, %minus, %nothing)
      %c : Tensor = aten::matmul(%p, %v)
      -> (%c)
    block1():
      -> (%v)
  return (%o))",
                            "no product of queries and keys leads to it in its own block"}),
    [](const auto& info) { return info.param.name; });

constexpr char kApart[] = R"(
  %s : Tensor = aten::matmul(%q, %k)
  %mask : Tensor = aten::relu(%bias)
  %t : Tensor = aten::add(%s, %mask, %one)
  %w : Tensor = aten::relu(%v)
  %p : Tensor = aten::softmax(%t, %minus, %nothing)
  %o : Tensor = aten::matmul(%p, %w)
  return (%o))";

TEST(EagerAttentionTest, GatheringMovesItTogether) {
  const auto graph = Parse(kApart);
  const EagerAttention attention = Match(graph);
  ASSERT_EQ(attention.refusal, "");
  torch::jit::AliasDb aliases(graph);
  EXPECT_TRUE(GatherNodes(aliases, attention));
  for (size_t i = 0; i + 1 < attention.nodes.size(); ++i) {
    EXPECT_EQ(attention.nodes[i]->next(), attention.nodes[i + 1]);
  }
  graph->lint();
}

TEST(EagerAttentionTest, WhatIsChangedInPlaceInBetweenStaysApart) {
  const auto graph = Parse(R"(
  %b : Tensor = aten::relu(%bias)
  %s : Tensor = aten::matmul(%q, %k)
  %t : Tensor = aten::add(%s, %b, %one)
  %changed : Tensor = aten::add_(%b, %half, %one)
  %p : Tensor = aten::softmax(%t, %minus, %nothing)
  %w : Tensor = aten::add(%v, %changed, %one)
  %o : Tensor = aten::matmul(%p, %w)
  return (%o))");
  const EagerAttention attention = Match(graph);
  ASSERT_EQ(attention.refusal, "");
  torch::jit::AliasDb aliases(graph);
  EXPECT_FALSE(GatherNodes(aliases, attention));
  graph->lint();
}

}  // namespace
}  // namespace attribution::capture
