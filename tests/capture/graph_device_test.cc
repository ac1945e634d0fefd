#include "server/capture/graph_device.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/irparser.h>

#include <memory>
#include <string>
#include <vector>

#include "server/capture/graph_plan.h"

namespace attribution::capture {
namespace {

std::shared_ptr<torch::jit::Graph> Parse(const std::string& text) {
  auto graph = std::make_shared<torch::jit::Graph>();
  torch::jit::parseIR(text, graph.get());
  return graph;
}

// A model whose positions were traced on a GPU, in a branch.
constexpr char kTracedElsewhere[] = R"IR(
graph(%self, %length : int):
  %nothing : NoneType = prim::Constant()
  %yes : bool = prim::Constant[value=1]()
  %device : Device = prim::Constant[value="cuda:0"]()
  %branched : Tensor = prim::If(%yes)
    block0():
      %inner : Device = prim::Constant[value="cuda:1"]()
      %places : Tensor = aten::arange(%length, %nothing, %nothing, %inner, %nothing)
      -> (%places)
    block1():
      %others : Tensor = aten::arange(%length, %nothing, %nothing, %device, %nothing)
      -> (%others)
  %more : Tensor = aten::arange(%length, %nothing, %nothing, %device, %nothing)
  %sum : Tensor = aten::add(%branched, %more, %length)
  return (%sum)
)IR";

TEST(GraphDeviceTest, TraceOfAnotherDeviceRunsHere) {
  const auto graph = Parse(kTracedElsewhere);
  MoveGraph(*graph, at::kCPU);
  const auto outputs = GraphPlan(graph, "moved").Run({at::IValue(), 3}, nullptr);
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  EXPECT_TRUE(outputs->at(0).toTensor().equal(at::arange(3) * 4));
}

// The device that each aten::arange of a block names.
void CollectDevices(const torch::jit::Block* block, std::vector<c10::Device>& devices) {
  for (const torch::jit::Node* node : block->nodes()) {
    for (const torch::jit::Block* inner : node->blocks()) CollectDevices(inner, devices);
    if (node->kind() == c10::Symbol::fromQualString("aten::arange"))
      devices.push_back(torch::jit::toIValue(node->input(3))->toDevice());
  }
}

TEST(GraphDeviceTest, EveryNameOfADeviceIsReplaced) {
  const auto graph = Parse(kTracedElsewhere);
  MoveGraph(*graph, c10::Device("cuda:7"));
  std::vector<c10::Device> devices;
  CollectDevices(graph->block(), devices);
  EXPECT_EQ(devices.size(), 3);
  EXPECT_THAT(devices, testing::Each(c10::Device("cuda:7")));
}

TEST(GraphDeviceTest, NamesOfTheDeviceItselfStay) {
  const auto graph = Parse(kTracedElsewhere);
  MoveGraph(*graph, c10::Device("cuda:0"));
  MoveGraph(*graph, c10::Device("cuda:0"));
  size_t constants = 0;
  for (const torch::jit::Node* node : graph->block()->nodes()) {
    constants += node->kind() == c10::prim::Constant ? 1 : 0;
  }
  EXPECT_EQ(constants, 3);
}

}  // namespace
}  // namespace attribution::capture
