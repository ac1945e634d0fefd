// Eager attention that was replaced, run against the graph as it was written.
#include "server/capture/eager_fragment.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/ir/irparser.h>
#include <torch/csrc/jit/passes/common_subexpression_elimination.h>
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/testing/file_check.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "server/capture/attention_operators.h"
#include "server/capture/graph_plan.h"
#include "server/capture/inlined_graph.h"
#include "server/capture/rewrite_attention.h"
#include "tests/capture/collecting_observer.h"

namespace attribution::capture {
namespace {

using torch::jit::Graph;
using torch::jit::testing::FileCheck;

constexpr int64_t kBatch = 3;
constexpr int64_t kHeads = 4;
constexpr int64_t kLength = 150;  // more than a block of rows
constexpr int64_t kWidth = 8;

std::shared_ptr<Graph> Parse(const std::string& body) {
  const std::string text = R"(graph(%q : Tensor, %k : Tensor, %v : Tensor, %bias : Tensor, %hidden : Tensor):
  %minus : int = prim::Constant[value=-1]()
  %one : int = prim::Constant[value=1]()
  %two : int = prim::Constant[value=2]()
  %four : int = prim::Constant[value=4]()
  %nothing : NoneType = prim::Constant()
  %scale : float = prim::Constant[value=0.35]()
  %cap : float = prim::Constant[value=3.]()
  %least : float = prim::Constant[value=-10000.]()
  %no : bool = prim::Constant[value=0]()
  %half : float = prim::Constant[value=0.5]()
)" + body;
  auto graph = std::make_shared<Graph>();
  torch::jit::parseIR(text, graph.get());
  return graph;
}

struct Form {
  const char* name;
  const char* scores;  // makes %x, which goes into the softmax, of %s
};

const std::vector<Form> kForms = {
    {"Plain", "%x : Tensor = aten::mul(%s, %scale)\n"},
    {"Bert", "%a : Tensor = aten::mul(%s, %scale)\n  %x : Tensor = aten::add(%a, %bias, %one)\n"},
    {"Divided", "%a : Tensor = aten::div(%s, %cap)\n  %x : Tensor = aten::add(%bias, %a, %one)\n"},
    {"InPlace", "%a : Tensor = aten::div(%s, %cap)\n  %x : Tensor = aten::add_(%a, %bias, %one)\n"},
    {"BiasTwice", "%a : Tensor = aten::add(%s, %bias, %two)\n  %x : Tensor = aten::sub(%a, %bias, %one)\n"},
    {"FromBias", "%x : Tensor = aten::sub(%bias, %s, %one)\n"},
    {"SoftCap",
     "%a : Tensor = aten::div(%s, %cap)\n  %b : Tensor = aten::tanh(%a)\n  %c : Tensor = aten::mul(%b, "
     "%cap)\n"
     "  %x : Tensor = aten::add(%c, %bias, %one)\n"},
    {"MaskedFill", "%x : Tensor = aten::masked_fill(%s, %hidden, %least)\n"},
    {"MaskedFillInPlace", "%x : Tensor = aten::masked_fill_(%s, %hidden, %least)\n"},
    {"WhereHidden", "%x : Tensor = aten::where(%hidden, %bias, %s)\n"},
    {"WhereKept",
     "%kept : Tensor = aten::logical_not(%hidden)\n  %x : Tensor = aten::where(%kept, %s, %bias)\n"},
    {"Bounded", "%a : Tensor = aten::maximum(%s, %bias)\n  %x : Tensor = aten::minimum(%a, %s2)\n"},
};

class EagerFragmentTest : public testing::TestWithParam<size_t> {
 protected:
  static std::string BodyOf(const std::string& product, const std::string& scores) {
    return "  %s2 : Tensor = aten::mul(%bias, %cap)\n  %s : Tensor = aten::" + product + "(%q, %k)\n  " +
           scores +
           "  %p : Tensor = aten::softmax(%x, %minus, %nothing)\n"
           "  %d : Tensor = aten::dropout(%p, %half, %no)\n"
           "  %o : Tensor = aten::" +
           product + "(%d, %v)\n";
  }
};

struct Inputs {
  at::Tensor query, key, value, bias, hidden;

  torch::jit::Stack Stack() const { return {query, key, value, bias, hidden}; }
};

Inputs RandomInputs(at::IntArrayRef leading, at::IntArrayRef bias_sizes, at::ScalarType dtype) {
  at::manual_seed(3);
  const auto sizes = [&](int64_t rows, int64_t columns) {
    std::vector<int64_t> all = leading.vec();
    all.insert(all.end(), {rows, columns});
    return all;
  };
  Inputs inputs;
  inputs.query = at::randn(sizes(kLength, kWidth), dtype);
  inputs.key = at::randn(sizes(kWidth, kLength), dtype);
  inputs.value = at::randn(sizes(kLength, kWidth), dtype);
  inputs.bias = at::randn(bias_sizes, dtype);
  inputs.hidden = at::rand(bias_sizes).lt(0.3);
  return inputs;
}

// Output and probabilities of the graph as it is written, in float64.
std::pair<at::Tensor, at::Tensor> Expected(const std::string& body, const Inputs& inputs) {
  const auto graph = Parse(body + "  return (%o, %p)");
  torch::jit::Stack stack;
  for (const at::Tensor& tensor : {inputs.query, inputs.key, inputs.value, inputs.bias})
    stack.emplace_back(tensor.to(at::kDouble));
  stack.emplace_back(inputs.hidden);
  const auto outputs = GraphPlan(graph, "original").Run(stack, nullptr);
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  return {(*outputs)[0].toTensor(), (*outputs)[1].toTensor()};
}

void ExpectAsWritten(const std::string& body, const Inputs& inputs, double tolerance, bool in_blocks = true) {
  const auto [output, probabilities] = Expected(body, inputs);
  const auto graph = Parse(body + "  return (%o)");
  RewriteAttention(*graph, {5}, {true});
  CollectingObserver observer;
  const auto outputs = GraphPlan(graph, "replaced").Run(inputs.Stack(), &observer);
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  EXPECT_LE(LargestDifference((*outputs)[0].toTensor(), output), tolerance);
  EXPECT_EQ((*outputs)[0].toTensor().scalar_type(), inputs.query.scalar_type());
  ASSERT_EQ(observer.layers().size(), 1);
  EXPECT_EQ(observer.layers()[0].shape.site, 5);
  EXPECT_EQ(observer.layers()[0].shape.in_blocks, in_blocks);
  EXPECT_LE(LargestDifference(observer.layers()[0].probabilities.view_as(probabilities), probabilities),
            tolerance);
}

TEST_P(EagerFragmentTest, GivesWhatWasWritten) {
  const std::string body = BodyOf("matmul", kForms[GetParam()].scores);
  for (const std::vector<int64_t>& bias :
       std::vector<std::vector<int64_t>>{{kBatch, 1, 1, kLength},
                                         {kBatch, 1, kLength, kLength},
                                         {1, kHeads, kLength, kLength},
                                         {kBatch, kHeads, kLength, kLength},
                                         {kHeads, 1, 1},
                                         {kLength, 1},
                                         {}}) {
    SCOPED_TRACE(testing::PrintToString(bias));
    ExpectAsWritten(body, RandomInputs({kBatch, kHeads}, bias, at::kFloat), 1e-5);
    ExpectAsWritten(body, RandomInputs({kBatch, kHeads}, bias, at::kDouble), 1e-12);
  }
}

TEST_P(EagerFragmentTest, TakesAttentionOfASingleHead) {
  const std::string body = BodyOf("bmm", kForms[GetParam()].scores);
  for (const std::vector<int64_t>& bias :
       std::vector<std::vector<int64_t>>{{kBatch, 1, kLength}, {kLength, kLength}}) {
    ExpectAsWritten(body, RandomInputs({kBatch}, bias, at::kFloat), 1e-5);
  }
}

// Truth is float64 over the same rounded inputs; only scores, softmax and sums are not rounded in between.
TEST_P(EagerFragmentTest, AccumulatesHalfPrecisionInFloat32) {
  const std::string body = BodyOf("matmul", kForms[GetParam()].scores);
  ExpectAsWritten(body, RandomInputs({kBatch, kHeads}, {kBatch, 1, 1, kLength}, at::kBFloat16), 1.6e-2);
  ExpectAsWritten(body, RandomInputs({kBatch, kHeads}, {kBatch, 1, 1, kLength}, at::kHalf), 2e-3);
}

INSTANTIATE_TEST_SUITE_P(Forms, EagerFragmentTest, testing::Range(size_t{0}, kForms.size()),
                         [](const auto& info) { return kForms[info.param].name; });

// As DeBERTa writes it: batch and heads are one dimension but for the mask.
constexpr char kFolded[] = R"(
  %s : Tensor = aten::bmm(%q, %k)
  %n : int = aten::size(%s, %minus)
  %sizes : int[] = prim::ListConstruct(%minus, %four, %n, %n)
  %apart : Tensor = aten::view(%s, %sizes)
  %x : Tensor = aten::masked_fill(%apart, %hidden, %least)
  %p : Tensor = aten::softmax(%x, %minus, %nothing)
  %d : Tensor = aten::dropout(%p, %half, %no)
  %m : int = aten::size(%d, %minus)
  %folded : int[] = prim::ListConstruct(%minus, %m, %m)
  %w : Tensor = aten::view(%d, %folded)
  %o : Tensor = aten::bmm(%w, %v)
)";

TEST(EagerFragmentShapeTest, PartsHeadsThatAReshapeParts) {
  ExpectAsWritten(kFolded, RandomInputs({kBatch * kHeads}, {kBatch, 1, 1, kLength}, at::kFloat), 1e-5);
}

// As XGLM writes it: only the mask is added with the heads apart.
constexpr char kFoldedSoftmax[] = R"(
  %s : Tensor = aten::bmm(%q, %k)
  %n : int = aten::size(%s, %minus)
  %sizes : int[] = prim::ListConstruct(%minus, %four, %n, %n)
  %apart : Tensor = aten::view(%s, %sizes)
  %masked : Tensor = aten::masked_fill(%apart, %hidden, %least)
  %folded : int[] = prim::ListConstruct(%minus, %n, %n)
  %x : Tensor = aten::reshape(%masked, %folded)
  %p : Tensor = aten::softmax(%x, %minus, %nothing)
  %o : Tensor = aten::bmm(%p, %v)
)";

TEST(EagerFragmentShapeTest, RemembersTheHeadsThatWereApartOnce) {
  const Inputs inputs = RandomInputs({kBatch * kHeads}, {kBatch, 1, 1, kLength}, at::kFloat);
  ExpectAsWritten(kFoldedSoftmax, inputs, 1e-5);
}

constexpr char kSimple[] = R"(
  %s : Tensor = aten::matmul(%q, %k)
  %x : Tensor = aten::add(%s, %bias, %one)
  %p : Tensor = aten::softmax(%x, %minus, %nothing)
  %o : Tensor = aten::matmul(%p, %v)
)";

TEST(EagerFragmentShapeTest, RunsAsWrittenWhereTheBiasIsLargerThanTheScores) {
  Inputs inputs = RandomInputs({1, kHeads}, {kBatch, 1, 1, kLength}, at::kFloat);
  inputs.value = at::randn({kBatch, kHeads, kLength, kWidth});
  ExpectAsWritten(kSimple, inputs, 1e-5, /*in_blocks=*/false);
}

TEST(EagerFragmentShapeTest, CrossAttentionIsNotShown) {
  Inputs inputs = RandomInputs({kBatch, kHeads}, {1}, at::kFloat);
  inputs.query = at::randn({kBatch, kHeads, 7, kWidth});
  const auto graph = Parse(std::string(kSimple) + "  return (%o)");
  RewriteAttention(*graph, {0}, {true});
  CollectingObserver observer;
  const auto outputs = GraphPlan(graph, "replaced").Run(inputs.Stack(), &observer);
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  EXPECT_TRUE(observer.layers().empty());
  EXPECT_LE(LargestDifference((*outputs)[0].toTensor(), Expected(kSimple, inputs).first), 1e-5);
}

TEST(EagerFragmentShapeTest, ARowOfWhichNothingIsLeftIsNanAsWritten) {
  Inputs inputs = RandomInputs({1, 1}, {1, 1, kLength, 1}, at::kFloat);
  inputs.bias.zero_()[0][0][3] = -std::numeric_limits<float>::infinity();
  const auto graph = Parse(std::string(kSimple) + "  return (%o)");
  RewriteAttention(*graph, {0}, {true});
  CollectingObserver observer;
  const auto outputs = GraphPlan(graph, "replaced").Run(inputs.Stack(), &observer);
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  const at::Tensor rows = (*outputs)[0].toTensor().isnan().all(-1)[0][0];
  EXPECT_EQ(rows.sum().item<int64_t>(), 1);
  EXPECT_TRUE(rows[3].item<bool>());
}

int64_t Count(Graph& graph) {
  return std::count_if(graph.nodes().begin(), graph.nodes().end(),
                       [](const torch::jit::Node* node) { return node->kind() == EagerAttentionSymbol(); });
}

TEST(EagerFragmentPassTest, OneNodeTakesThePlaceOfAll) {
  const auto graph = Parse(std::string(kSimple) + "  return (%o)");
  RewriteAttention(*graph, {3}, {true});
  EXPECT_TRUE(CandidateNodes(*graph).empty());
  torch::jit::Node* node = graph->outputs()[0]->node();
  EXPECT_EQ(node->kind(), EagerAttentionSymbol());
  EXPECT_EQ(node->i(SiteAttribute()), 3);
  const std::shared_ptr<Graph> fragment = node->g(c10::attr::Subgraph);
  EXPECT_EQ(node->inputs().size(), fragment->inputs().size());
  EXPECT_EQ(node->inputs().back(), graph->inputs().back()) << "the observer";
  FileCheck().check("aten::matmul")->check("aten::softmax")->check("aten::matmul")->run(*fragment);
}

TEST(EagerFragmentPassTest, SurvivesDeadCodeAndCommonSubexpressionElimination) {
  const std::string twice = std::string(kSimple) + R"(
  %s2 : Tensor = aten::matmul(%q, %k)
  %x2 : Tensor = aten::add(%s2, %bias, %one)
  %p2 : Tensor = aten::softmax(%x2, %minus, %nothing)
  %o2 : Tensor = aten::matmul(%p2, %v)
  return (%o, %o2))";
  const auto graph = Parse(twice);
  RewriteAttention(*graph, {0, 1}, {true, true});
  torch::jit::EliminateCommonSubexpression(graph);
  while (!graph->outputs().empty()) graph->eraseOutput(graph->outputs().size() - 1);
  torch::jit::EliminateDeadCode(graph);
  EXPECT_EQ(Count(*graph), 2);
}

TEST(EagerFragmentPassTest, SurvivesConstantPropagationAsFreezingDoesIt) {
  std::shared_ptr<Graph> graph = Parse(R"(
  %sizes : int[] = prim::ListConstruct(%four, %four, %four, %four)
  %c : Tensor = aten::ones(%sizes, %nothing, %nothing, %nothing, %nothing)
  %s : Tensor = aten::matmul(%c, %c)
  %p : Tensor = aten::softmax(%s, %minus, %nothing)
  %o : Tensor = aten::matmul(%p, %c)
  return (%o))");
  RewriteAttention(*graph, {0}, {true});
  torch::jit::ConstantPropagation(graph);
  EXPECT_EQ(Count(*graph), 1);
}

TEST(EagerFragmentPassTest, CutLeavesOutAnOutputThatNobodyReads) {
  const auto graph = Parse(std::string(kSimple) + "  return (%o)");
  RewriteAttention(*graph, {0}, {true});
  CutAfterLastSite(*graph);
  torch::jit::Node* node = *graph->nodes().rbegin();
  ASSERT_EQ(node->kind(), EagerAttentionSymbol());
  EXPECT_EQ(node->i(NeedsOutputAttribute()), 0);
  CollectingObserver observer;
  const Inputs inputs = RandomInputs({kBatch, kHeads}, {1}, at::kFloat);
  const auto outputs = GraphPlan(graph, "cut").Run(inputs.Stack(), &observer);
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  EXPECT_LE(LargestDifference(observer.layers().at(0).probabilities, Expected(kSimple, inputs).second), 1e-5);
}

TEST(EagerFragmentPassTest, ObserverStopsTheRun) {
  for (const bool in_blocks : {true, false}) {
    const auto graph = Parse(std::string(kSimple) + "  return (%o)");
    RewriteAttention(*graph, {0}, {true});
    Inputs inputs = RandomInputs({1, kHeads}, {in_blocks ? 1 : kBatch, 1, 1, kLength}, at::kFloat);
    inputs.value = at::randn({in_blocks ? 1 : kBatch, kHeads, kLength, kWidth});
    CollectingObserver observer(/*stop_after=*/1);
    const auto outputs = GraphPlan(graph, "stopped").Run(inputs.Stack(), &observer);
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    EXPECT_TRUE(outputs->empty());
    EXPECT_EQ(observer.layers().at(0).shape.in_blocks, in_blocks);
  }
}

}  // namespace
}  // namespace attribution::capture
