#include "server/capture/graph_plan.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "attribution/status_details.h"
#include "server/capture/inlined_graph.h"
#include "server/capture/rewrite_attention.h"
#include "tests/capture/collecting_observer.h"
#include "tests/capture/tiny_model.h"

namespace attribution::capture {
namespace {

using testing::HasSubstr;

// Runs forward(self, x) of `source` without observer.
absl::StatusOr<torch::jit::Stack> RunSource(const std::string& source, const at::Tensor& x) {
  const torch::jit::Module module = ModuleOf(source);
  return GraphPlan(InlineForward(module).graph, "plain").Run({module._ivalue(), x}, nullptr);
}

TEST(GraphPlanTest, GivesTheOutputs) {
  const auto outputs = RunSource("def forward(self, x):\n    return x * 2, x + 1\n", at::ones({3}));
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  const auto& elements = outputs->at(0).toTupleRef().elements();
  EXPECT_TRUE(elements[0].toTensor().equal(at::full({3}, 2.0)));
  EXPECT_TRUE(elements[1].toTensor().equal(at::full({3}, 2.0)));
}

TEST(GraphPlanTest, OnePlanTakesManyShapes) {
  const torch::jit::Module module = ModuleOf("def forward(self, x):\n    return x.sum()\n");
  const GraphPlan plan(InlineForward(module).graph, "shapes");
  for (int64_t length = 1; length < 20; ++length) {
    const auto outputs = plan.Run({module._ivalue(), at::ones({2, length})}, nullptr);
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    EXPECT_EQ((*outputs)[0].toTensor().item<double>(), 2.0 * static_cast<double>(length));
  }
}

TEST(GraphPlanTest, InputThatTheModelChangesIsLeftAsItWas) {
  const torch::jit::Module module = ModuleOf("def forward(self, x):\n    return x.sub_(1).mul_(2)\n");
  const GraphPlan plan(InlineForward(module).graph, "in_place");
  const at::Tensor x = at::full({3}, 5.0);
  for (int i = 0; i < 2; ++i) {
    const auto outputs = plan.Run({module._ivalue(), x}, nullptr);
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    EXPECT_TRUE((*outputs)[0].toTensor().equal(at::full({3}, 8.0)));
  }
  EXPECT_TRUE(x.equal(at::full({3}, 5.0)));
}

TEST(GraphPlanTest, NothingNeedsAGradient) {
  const torch::jit::Module module = ModuleOf("def forward(self, x):\n    return x * x\n");
  const GraphPlan plan(InlineForward(module).graph, "gradient");
  const auto outputs = plan.Run({module._ivalue(), at::ones({2}).requires_grad_()}, nullptr);
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  EXPECT_FALSE((*outputs)[0].toTensor().requires_grad());
}

TEST(GraphPlanTest, RunThatTheObserverStopsIsOkWithoutOutputs) {
  const torch::jit::Module module = ModuleOf(
      "def forward(self, x):\n    y = torch.softmax(x, -1)\n    assert y.size(0) > 9, 'ran on'\n    return "
      "y\n");
  const auto graph = InlineForward(module).graph;
  RewriteAttention(*graph, {0});
  const GraphPlan plan(graph, "stopping");
  const at::Tensor x = at::zeros({1, 2, 3, 3});
  CollectingObserver stopping(/*stop_after=*/1);
  const auto stopped = plan.Run({module._ivalue(), x}, &stopping);
  ASSERT_TRUE(stopped.ok()) << stopped.status();
  EXPECT_TRUE(stopped->empty());
  CollectingObserver patient;
  EXPECT_EQ(plan.Run({module._ivalue(), x}, &patient).status().code(), absl::StatusCode::kInternal);
}

TEST(GraphPlanTest, ModelThatThrowsIsInternalWithItsFirstLine) {
  const auto outputs = RunSource(
      "def forward(self, x):\n    assert x.size(0) > 5, 'too few rows\\nand a second line'\n    return x\n",
      at::ones({2}));
  EXPECT_EQ(outputs.status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(outputs.status().message(),
            "The model failed while it ran. It said: too few rows. The server's log has the whole message.");
  const auto detail = PayloadOf(outputs.status(), kLogDetailPayload);
  ASSERT_TRUE(detail.has_value());
  EXPECT_THAT(*detail, HasSubstr("and a second line"));
}

TEST(GraphPlanTest, OperatorThatThrowsIsInternalWithItsFirstLine) {
  const auto outputs = RunSource("def forward(self, x):\n    return torch.matmul(x, x)\n", at::ones({2, 3}));
  EXPECT_EQ(outputs.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(outputs.status().message()),
              HasSubstr("mat1 and mat2 shapes cannot be multiplied"));
  EXPECT_EQ(outputs.status().message().find('\n'), std::string::npos);
}

TEST(GraphPlanTest, IndexOutOfAnEmbeddingIsTheCallersMistake) {
  const auto outputs =
      RunSource("def forward(self, x):\n    return torch.embedding(torch.zeros([4, 2]), x)\n",
                at::full({1}, 4, at::kLong));
  EXPECT_EQ(outputs.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(outputs.status().message()), HasSubstr("index out of range in self"));
}

TEST(GraphPlanTest, TooFewInputsAreAnErrorNotACrash) {
  const torch::jit::Module module = ModuleOf("def forward(self, x):\n    return x\n");
  const GraphPlan plan(InlineForward(module).graph, "short");
  EXPECT_FALSE(plan.Run({module._ivalue()}, nullptr).ok());
}

TEST(ModelErrorTest, TakesTheMessageAfterTheInterpretersTrace) {
  const std::runtime_error error(
      "The following operation failed in the TorchScript interpreter.\nTraceback of TorchScript (most recent "
      "call last):\n"
      "  File \"model.py\", line 3, in forward\nRuntimeError: the model refuses this token\nmore\n");
  EXPECT_THAT(std::string(ModelError(error).message()),
              HasSubstr("It said: the model refuses this token, at model.py:3. The server's"));
}

TEST(ModelErrorTest, TakesTheFirstLineOfAnythingElse) {
  EXPECT_THAT(std::string(ModelError(std::runtime_error("plain words\nmore")).message()),
              HasSubstr("It said: plain words. The server's"));
}

}  // namespace
}  // namespace attribution::capture
