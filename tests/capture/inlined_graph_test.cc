#include "server/capture/inlined_graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/frontend/resolver.h>
#include <torch/csrc/jit/frontend/sugared_value.h>
#include <torch/csrc/jit/passes/freeze_module.h>
#include <torch/csrc/jit/testing/file_check.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/capture/tiny_model.h"

namespace attribution::capture {
namespace {

using testing::ElementsAre;
using torch::jit::Module;

std::vector<std::string> Paths(const InlinedGraph& inlined) {
  std::vector<std::string> paths;
  for (const Candidate& candidate : inlined.candidates) paths.push_back(candidate.module_path);
  return paths;
}

Module SoftmaxModule() {
  Module module("__torch__.Softmax");
  module.define("def forward(self, x):\n    return torch.softmax(x, -1)\n");
  return module;
}

TEST(InlinedGraphTest, PathsNameTheListBetweenModules) {
  const InlinedGraph inlined = InlineForward(MakeTinyModel(3, /*fused=*/true).module);
  EXPECT_THAT(Paths(inlined), ElementsAre("layers.0", "layers.1", "layers.2"));
}

TEST(InlinedGraphTest, NamesOperatorAndKind) {
  const InlinedGraph fused = InlineForward(MakeTinyModel(1, /*fused=*/true).module);
  ASSERT_EQ(fused.candidates.size(), 1);
  EXPECT_EQ(fused.candidates[0].kind, SiteKind::kBlocked);
  EXPECT_EQ(fused.candidates[0].operator_name, "aten::scaled_dot_product_attention");
  const InlinedGraph eager = InlineForward(MakeTinyModel(1, /*fused=*/false).module);
  ASSERT_EQ(eager.candidates.size(), 1);
  EXPECT_EQ(eager.candidates[0].kind, SiteKind::kBlocked);
  EXPECT_EQ(eager.candidates[0].tap_reason, "");
  EXPECT_EQ(eager.candidates[0].operator_name, "aten::softmax");
}

TEST(InlinedGraphTest, LeavesNoCalls) {
  const InlinedGraph inlined = InlineForward(MakeLoopingModel(2, /*fused=*/true).module);
  torch::jit::testing::FileCheck()
      .check_not("prim::CallMethod")
      ->check_not("prim::CallFunction")
      ->run(*inlined.graph);
}

TEST(InlinedGraphTest, LeavesTheModuleAlone) {
  const TinyModel model = MakeTinyModel(2, /*fused=*/true);
  const auto graph = model.module.get_method("forward").graph();
  const std::string before = graph->toString();
  InlineForward(model.module);
  EXPECT_EQ(graph->toString(), before);
}

TEST(InlinedGraphTest, SharedModuleIsACandidateForEachCall) {
  Module model("__torch__.Sharing");
  model.register_module("shared", SoftmaxModule());
  model.define("def forward(self, x):\n    return self.shared.forward(self.shared.forward(x))\n");
  EXPECT_THAT(Paths(InlineForward(model)), ElementsAre("shared", "shared"));
}

TEST(InlinedGraphTest, AfterACallTheCallerOwnsAgain) {
  Module inner("__torch__.Inner");
  inner.register_module("deep", SoftmaxModule());
  inner.define(
      "def forward(self, x):\n"
      "    y = self.deep.forward(torch.softmax(x, -1))\n"
      "    return torch.softmax(y, -1)\n");
  Module model("__torch__.Outer");
  model.register_module("inner", inner);
  model.define("def forward(self, x):\n    return torch.softmax(self.inner.forward(x), -1)\n");
  EXPECT_THAT(Paths(InlineForward(model)), ElementsAre("inner", "inner.deep", "inner", ""));
}

TEST(InlinedGraphTest, BranchesAndLoopsBelongToTheirModule) {
  Module inner("__torch__.Branching");
  inner.register_module("deep", SoftmaxModule());
  inner.define(
      "def forward(self, x):\n"
      "    if x.size(0) > 1:\n"
      "        x = torch.softmax(x, -1)\n"
      "    else:\n"
      "        x = self.deep.forward(x)\n"
      "    for i in range(3):\n"
      "        x = self.deep.forward(x)\n"
      "    return x\n");
  Module model("__torch__.Outer");
  model.register_module("inner", inner);
  model.define("def forward(self, x):\n    return self.inner.forward(x)\n");
  EXPECT_THAT(Paths(InlineForward(model)), ElementsAre("inner", "inner.deep", "inner.deep"));
}

// Finds the functions of a compilation unit by name.
struct FunctionResolver : torch::jit::Resolver {
  explicit FunctionResolver(torch::jit::CompilationUnit& functions) : unit(functions) {}

  std::shared_ptr<torch::jit::SugaredValue> resolveValue(const std::string& name,
                                                         torch::jit::GraphFunction& method,
                                                         const torch::jit::SourceRange& location) override {
    if (torch::jit::Function* function = unit.find_function(name)) {
      return std::make_shared<torch::jit::FunctionValue>(function);
    }
    return torch::jit::nativeResolver()->resolveValue(name, method, location);
  }

  torch::jit::CompilationUnit& unit;
};

TEST(InlinedGraphTest, FunctionBelongsToTheModuleThatCallsIt) {
  torch::jit::CompilationUnit unit;
  unit.define(std::nullopt, "def normalise(x):\n    return torch.softmax(x, -1)\n",
              torch::jit::nativeResolver(), nullptr);
  Module inner("__torch__.Calling");
  inner.define("def forward(self, x):\n    return normalise(x)\n", std::make_shared<FunctionResolver>(unit));
  Module model("__torch__.Outer");
  model.register_module("inner", inner);
  model.define("def forward(self, x):\n    return self.inner.forward(x)\n");
  torch::jit::testing::FileCheck().check("prim::CallFunction")->run(*inner.get_method("forward").graph());
  const InlinedGraph inlined = InlineForward(model);
  EXPECT_THAT(Paths(inlined), ElementsAre("inner"));
  torch::jit::testing::FileCheck().check_not("prim::CallFunction")->run(*inlined.graph);
}

TEST(InlinedGraphTest, FrozenModuleHasNoPaths) {
  const Module frozen = torch::jit::freeze_module(MakeTinyModel(2, /*fused=*/true).module);
  EXPECT_THAT(Paths(InlineForward(frozen)), ElementsAre("", ""));
}

TEST(InlinedGraphTest, CandidatesOfACopyComeInTheSameOrder) {
  const InlinedGraph inlined = InlineForward(MakeTinyModel(2, /*fused=*/false).module);
  const auto copy = inlined.graph->copy();
  EXPECT_EQ(CandidateNodes(*copy).size(), inlined.candidates.size());
}

}  // namespace
}  // namespace attribution::capture
