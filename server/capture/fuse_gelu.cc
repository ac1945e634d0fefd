#include "server/capture/fuse_gelu.h"

#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>

#include <cmath>
#include <string_view>
#include <vector>

namespace attribution::capture {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

bool Is(const Node* node, std::string_view kind) { return kind == node->kind().toQualString(); }

bool IsNumber(const Value* value, double wanted) {
  const auto constant = torch::jit::toIValue(value);
  if (!constant.has_value()) return false;
  double number = 0;
  if (constant->isScalar()) {
    number = constant->toScalar().toDouble();
  } else if (constant->isTensor() && constant->toTensor().dim() == 0) {
    number = constant->toTensor().item().toDouble();
  } else {
    return false;
  }
  return std::abs(number - wanted) <= 1e-6 * std::abs(wanted);
}

// The other factor of a product with `number`, in either order; null if `value` is none, or is read twice.
Value* Multiplied(Value* value, double number) {
  const Node* node = value->node();
  if (!Is(node, "aten::mul") || value->uses().size() != 1) return nullptr;
  if (IsNumber(node->input(1), number)) return node->input(0);
  return IsNumber(node->input(0), number) ? node->input(1) : nullptr;
}

// Both operands of a sum that is read once; nothing otherwise.
std::vector<Value*> Summands(Value* value) {
  const Node* node = value->node();
  if (!Is(node, "aten::add") || node->inputs().size() != 3 || value->uses().size() != 1) return {};
  if (!IsNumber(node->input(2), 1)) return {};
  return {node->input(0), node->input(1)};
}

// Whether `value` is 0.044715·x³ and read once.
bool IsCubicTerm(Value* value, const Value* x) {
  const Value* cube = Multiplied(value, 0.044715);
  return cube != nullptr && Is(cube->node(), "aten::pow") && cube->uses().size() == 1 &&
         cube->node()->input(0) == x && IsNumber(cube->node()->input(1), 3);
}

// Returns x if `tanh` is tanh(√(2/π)·(x + 0.044715·x³)); else null.
Value* ArgumentOf(const Node* tanh) {
  Value* sum = Multiplied(tanh->input(0), std::sqrt(2.0 / M_PI));
  if (sum == nullptr) return nullptr;
  const std::vector<Value*> summands = Summands(sum);
  if (summands.empty()) return nullptr;
  if (IsCubicTerm(summands[1], summands[0])) return summands[0];
  return IsCubicTerm(summands[0], summands[1]) ? summands[1] : nullptr;
}

// Returns the node whose value is 0.5·x·(1 + tanh); null if there is none.
Node* GeluOf(const Node* tanh, const Value* x) {
  if (tanh->output()->uses().size() != 1) return nullptr;
  Node* plus_one = tanh->output()->uses()[0].user;
  if (!Is(plus_one, "aten::add") || plus_one->output()->uses().size() != 1) return nullptr;
  if (!IsNumber(plus_one->input(0), 1) && !IsNumber(plus_one->input(1), 1)) return nullptr;
  if (plus_one->inputs().size() != 3 || !IsNumber(plus_one->input(2), 1)) return nullptr;
  Node* gelu = plus_one->output()->uses()[0].user;
  if (!Is(gelu, "aten::mul")) return nullptr;
  Value* other = gelu->input(0) == plus_one->output() ? gelu->input(1) : gelu->input(0);
  return Multiplied(other, 0.5) == x ? gelu : nullptr;
}

void Collect(Block* block, std::vector<Node*>& tanhs) {
  for (Node* node : block->nodes()) {
    if (Is(node, "aten::tanh")) tanhs.push_back(node);
    for (Block* inner : node->blocks()) Collect(inner, tanhs);
  }
}

}  // namespace

int64_t FuseGelu(Graph& graph) {
  std::vector<Node*> tanhs;
  Collect(graph.block(), tanhs);
  int64_t replaced = 0;
  for (const Node* tanh : tanhs) {
    Value* x = ArgumentOf(tanh);
    Node* written_out = x == nullptr ? nullptr : GeluOf(tanh, x);
    if (written_out == nullptr) continue;
    const torch::jit::WithInsertPoint before(written_out);
    Value* approximation = graph.insertConstant("tanh");
    Node* gelu = graph.create(c10::Symbol::fromQualString("aten::gelu"), {x, approximation}, 1);
    graph.insertNode(gelu);
    gelu->output()->copyMetadata(written_out->output());
    written_out->output()->replaceAllUsesWith(gelu->output());
    ++replaced;
  }
  if (replaced > 0) torch::jit::EliminateDeadCode(graph.block());
  graph.lint();
  return replaced;
}

}  // namespace attribution::capture
