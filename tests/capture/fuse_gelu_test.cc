#include "server/capture/fuse_gelu.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/ir/irparser.h>
#include <torch/csrc/jit/testing/file_check.h>

#include <cmath>
#include <memory>
#include <string>

#include "server/capture/graph_plan.h"
#include "tests/capture/collecting_observer.h"

namespace attribution::capture {
namespace {

using torch::jit::Graph;
using torch::jit::testing::FileCheck;

std::shared_ptr<Graph> Parse(const std::string& body) {
  auto graph = std::make_shared<Graph>();
  torch::jit::parseIR("graph(%x : Tensor):\n" + body, graph.get());
  return graph;
}

constexpr char kConstants[] = R"(
  %one : int = prim::Constant[value=1]()
  %three : float = prim::Constant[value=3.]()
  %half : float = prim::Constant[value=0.5]()
  %kappa : float = prim::Constant[value=0.044715]()
  %beta : float = prim::Constant[value=0.79788456080286541]()
)";

const std::string kWrittenOut = std::string(kConstants) + R"(
  %a : Tensor = aten::mul(%x, %half)
  %cube : Tensor = aten::pow(%x, %three)
  %c : Tensor = aten::mul(%cube, %kappa)
  %s : Tensor = aten::add(%x, %c, %one)
  %t : Tensor = aten::mul(%s, %beta)
  %h : Tensor = aten::tanh(%t)
  %o : Tensor = aten::add(%h, %one, %one)
  %r : Tensor = aten::mul(%a, %o)
)";

std::string With(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

TEST(FuseGeluTest, OneOperatorTakesThePlaceOfEight) {
  const auto graph = Parse(kWrittenOut + "  return (%r)");
  EXPECT_EQ(FuseGelu(*graph), 1);
  FileCheck().check("aten::gelu")->check_not("aten::tanh")->check_not("aten::pow")->run(*graph);
}

TEST(FuseGeluTest, GivesTheSameNumbers) {
  const at::Tensor x = at::linspace(-6, 6, 1001, at::kDouble);
  const at::Tensor expected = 0.5 * x * (1 + (std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)).tanh());
  const auto graph = Parse(kWrittenOut + "  return (%r)");
  FuseGelu(*graph);
  for (const auto& [dtype, tolerance] : {std::pair{at::kDouble, 1e-12}, std::pair{at::kFloat, 1e-6}}) {
    const auto outputs = GraphPlan(graph, "gelu").Run({x.to(dtype)}, nullptr);
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    EXPECT_LE(LargestDifference((*outputs)[0].toTensor(), expected), tolerance);
  }
}

TEST(FuseGeluTest, OperandsStandInAnyOrder) {
  std::string text = With(kWrittenOut, "add(%x, %c, %one)", "add(%c, %x, %one)");
  text = With(text, "mul(%a, %o)", "mul(%o, %a)");
  EXPECT_EQ(FuseGelu(*Parse(text + "  return (%r)")), 1);
}

class FuseGeluRefusalTest : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(FuseGeluRefusalTest, LeavesWhatIsSomethingElse) {
  const auto [from, to] = GetParam();
  const auto graph = Parse(With(kWrittenOut + "  return (%r)", from, to));
  EXPECT_EQ(FuseGelu(*graph), 0);
  FileCheck().check("aten::tanh")->check_not("aten::gelu")->run(*graph);
}

INSTANTIATE_TEST_SUITE_P(Changes, FuseGeluRefusalTest,
                         testing::Values(std::pair{"pow(%x, %three)", "pow(%x, %one)"},
                                         std::pair{"pow(%x, %three)", "pow(%a, %three)"},
                                         std::pair{"value=0.044715", "value=0.0448"},
                                         std::pair{"value=0.797", "value=0.787"},
                                         std::pair{"value=0.5]", "value=0.6]"},
                                         std::pair{"add(%h, %one, %one)", "add(%h, %half, %one)"},
                                         std::pair{"add(%x, %c, %one)", "add(%x, %c, %half)"},
                                         std::pair{"mul(%a, %o)", "mul(%cube, %o)"},
                                         std::pair{"return (%r)", "return (%r, %t)"},
                                         std::pair{"return (%r)", "return (%r, %h)"}));

}  // namespace
}  // namespace attribution::capture
