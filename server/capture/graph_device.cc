#include "server/capture/graph_device.h"

#include <torch/csrc/jit/ir/constants.h>

namespace attribution::capture {
namespace {

void MoveBlock(torch::jit::Graph& graph, torch::jit::Block* block, c10::Device device) {
  for (torch::jit::Node* node : block->nodes()) {
    for (torch::jit::Block* inner : node->blocks()) MoveBlock(graph, inner, device);
    if (node->kind() != c10::prim::Constant) continue;
    const auto constant = torch::jit::toIValue(node->output());
    if (!constant.has_value() || !constant->isDevice() || constant->toDevice() == device) continue;
    const torch::jit::WithInsertPoint before(node);
    node->output()->replaceAllUsesWith(graph.insertConstant(device));
  }
}

}  // namespace

void MoveGraph(torch::jit::Graph& graph, c10::Device device) { MoveBlock(graph, graph.block(), device); }

}  // namespace attribution::capture
