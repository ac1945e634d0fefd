// Written-out attention under masks, computed in blocks that end where the masks end, against the same
// operators on whole matrices in float64.
#include "server/capture/score_program.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/ir/irparser.h>

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tests/capture/collecting_observer.h"

namespace attribution::capture {
namespace {

constexpr int64_t kBatch = 2;
constexpr int64_t kHeads = 3;
constexpr int64_t kLength = 200;  // does not divide by a block
constexpr double kLowest = std::numeric_limits<float>::lowest();

struct Masks {
  at::Tensor bias;    // added, or put in the place of what is hidden
  at::Tensor hidden;  // bool
};

at::Tensor Hidden() { return at::ones({1, 1, kLength, kLength}, at::kBool).triu(1); }

// The first positions of the first sequence and the last ones of the second.
at::Tensor Padding() {
  at::Tensor padding = at::zeros({kBatch, 1, 1, kLength}, at::kBool);
  padding[0].narrow(-1, 0, 70).fill_(true);
  padding[1].narrow(-1, 150, 50).fill_(true);
  return padding;
}

at::Tensor Added(const at::Tensor& hidden, double value = kLowest) {
  return at::zeros(hidden.sizes()).masked_fill(hidden, value);
}

struct Case {
  const char* name;
  const char* steps;  // from %s to %x
  Masks (*masks)();
  at::Tensor (*expected)(at::Tensor scores, const Masks& masks);  // float64
  bool skips;
};

const Case kCases[] = {
    {"AddedMask", "%x : Tensor = aten::add(%s, %bias, %one)",
     [] { return Masks{Added(Hidden().logical_or(Padding())), Hidden()}; },
     [](at::Tensor scores, const Masks& masks) { return scores.add(masks.bias); }, true},
    {"BiasAndMaskOfEachHead", "%x : Tensor = aten::add(%s, %bias, %one)",
     [] { return Masks{at::randn({1, kHeads, kLength, kLength}).add(Added(Hidden())), Hidden()}; },
     [](at::Tensor scores, const Masks& masks) { return scores.add(masks.bias); }, true},
    {"WhereThenPadding",
     "%y : Tensor = aten::where(%hidden, %lowest, %s)\n  %x : Tensor = aten::add(%y, %bias, %one)",
     [] { return Masks{Added(Padding()), Hidden()}; },
     [](at::Tensor scores, const Masks& masks) {
       return scores.masked_fill(masks.hidden, kLowest).add(masks.bias);
     },
     true},
    {"FilledAfterSoftCap",
     "%t : Tensor = aten::tanh(%s)\n  %u : Tensor = aten::mul(%t, %four)\n"
     "  %x : Tensor = aten::masked_fill(%u, %hidden, %lowest)",
     [] { return Masks{at::zeros({1}), Hidden()}; },
     [](at::Tensor scores, const Masks& masks) {
       return scores.tanh().mul(4).masked_fill(masks.hidden, kLowest);
     },
     true},
    // What was hidden is near the rest again.
    {"ScaledDownAfterMask", "%y : Tensor = aten::add(%s, %bias, %one)\n  %x : Tensor = aten::mul(%y, %tiny)",
     [] { return Masks{Added(Hidden(), -7e4), Hidden()}; },
     [](at::Tensor scores, const Masks& masks) { return scores.add(masks.bias).mul(1e-5); }, false},
    {"FilledAgainMildly",
     "%y : Tensor = aten::add(%s, %bias, %one)\n  %x : Tensor = aten::masked_fill(%y, %hidden, %four)",
     [] { return Masks{Added(Hidden()), Hidden()}; },
     [](at::Tensor scores, const Masks& masks) {
       return scores.add(masks.bias).masked_fill(masks.hidden, 4);
     },
     false},
};

class ScoreProgramTest : public testing::TestWithParam<Case> {};

TEST_P(ScoreProgramTest, GivesWhatWholeMatricesGive) {
  auto graph = std::make_shared<torch::jit::Graph>();
  torch::jit::parseIR(std::string(R"(
graph(%q : Tensor, %k : Tensor, %v : Tensor, %bias : Tensor, %hidden : Tensor, %lowest : Tensor):
  %minus : int = prim::Constant[value=-1]()
  %one : int = prim::Constant[value=1]()
  %four : float = prim::Constant[value=4.]()
  %tiny : float = prim::Constant[value=1e-05]()
  %nothing : NoneType = prim::Constant()
  %s : Tensor = aten::matmul(%q, %k)
  )") + GetParam().steps + R"(
  %p : Tensor = aten::softmax(%x, %minus, %nothing)
  %o : Tensor = aten::matmul(%p, %v)
  return (%o))",
                      graph.get());
  at::manual_seed(5);
  const Masks masks = GetParam().masks();
  const at::Tensor query = at::randn({kBatch, kHeads, kLength, 8});
  const at::Tensor key = at::randn({kBatch, kHeads, 8, kLength});
  const at::Tensor value = at::randn({kBatch, kHeads, kLength, 5});
  const at::Tensor scores = at::matmul(query.to(at::kDouble), key.to(at::kDouble));
  const at::Tensor expected = at::softmax(GetParam().expected(scores, masks), -1);

  const auto bound = ScoreProgram(graph, kHeads)
                         .Bind(std::vector<c10::IValue>{query, key, value, masks.bias, masks.hidden,
                                                        at::scalar_tensor(kLowest)});
  ASSERT_TRUE(bound.has_value());
  for (const bool whole : {false, true}) {
    CollectingObserver observer;
    if (whole) observer.NeedWholeRows();
    observer.BeginLayer({0, kBatch, kHeads, kLength, true, false});
    const at::Tensor output = at::empty({kBatch, kHeads, kLength, 5});
    ComputeInBlocks(
        bound->products, [&](int64_t sequence) { return bound->SoftmaxOf(sequence); }, output, &observer);
    observer.EndLayer();
    EXPECT_LE(LargestDifference(observer.layers()[0].probabilities, expected), 5e-6);
    EXPECT_LE(LargestDifference(output, at::matmul(expected, value.to(at::kDouble))), 2e-5);
    const int64_t all = kBatch * kHeads * kLength * kLength;
    EXPECT_EQ(observer.cells_computed() < all, GetParam().skips && !whole);
  }
}

INSTANTIATE_TEST_SUITE_P(Masks, ScoreProgramTest, testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace attribution::capture
