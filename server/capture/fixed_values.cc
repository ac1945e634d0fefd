#include "server/capture/fixed_values.h"

#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/lower_tuples.h>
#include <torch/csrc/jit/passes/peephole.h>
#include <torch/csrc/jit/passes/remove_mutation.h>

#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

namespace attribution::capture {
namespace {

using c10::IValue;
using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

bool IsPlain(const IValue& value) {
  return value.isNone() || value.isBool() || value.isInt() || value.isDouble() || value.isString();
}

// Whether nn.TransformerEncoder may pack; the second name is that of older releases.
bool AsksForNestedTensors(const std::string& attribute) {
  return attribute == "use_nested_tensor" || attribute == "enable_nested_tensor";
}

// Whether `node` asks for something that is off while a model only infers.
bool IsOffInInference(const Node* node) {
  static const std::unordered_set<c10::Symbol> kinds = {
      c10::Symbol::fromQualString("aten::is_grad_enabled"),
      c10::Symbol::fromQualString("aten::is_autocast_enabled"),
      c10::Symbol::fromQualString("aten::is_autocast_cpu_enabled"),
      c10::Symbol::fromQualString("prim::requires_grad"),
  };
  return kinds.count(node->kind()) > 0 && node->outputs().size() == 1 &&
         node->output()->type()->kind() == c10::TypeKind::BoolType;
}

// Whether `node` asks if a value is, or is not, that same value.
bool ComparesWithItself(const Node* node) {
  return (node->kind() == c10::aten::__is__ || node->kind() == c10::aten::__isnot__) &&
         node->input(0) == node->input(1);
}

class Folder {
 public:
  Folder(const torch::jit::Module& module, Graph& graph) : graph_(graph) {
    objects_[graph.inputs().at(0)] = module._ivalue();
    CollectSet(graph.block());
  }

  void Fold(Block* block) {
    for (Node* node : block->nodes()) {
      if (IsOffInInference(node)) {
        Replace(node, false);
      } else if (ComparesWithItself(node)) {
        Replace(node, node->kind() == c10::aten::__is__);
      } else if (node->kind() == c10::prim::GetAttr) {
        FoldAttribute(node);
      }
      for (Block* inner : node->blocks()) Fold(inner);
    }
  }

 private:
  void CollectSet(Block* block) {
    for (Node* node : block->nodes()) {
      if (node->kind() == c10::prim::SetAttr) set_.insert(node->s(c10::attr::name));
      for (Block* inner : node->blocks()) CollectSet(inner);
    }
  }

  void FoldAttribute(Node* node) {
    const auto object = objects_.find(node->input());
    if (object == objects_.end() || !object->second.isObject()) return;
    const std::string& name = node->s(c10::attr::name);
    const IValue value = object->second.toObjectRef().getAttr(name);
    if (value.isObject()) objects_[node->output()] = value;
    if (!IsPlain(value) || set_.count(name) > 0) return;
    Replace(node, AsksForNestedTensors(name) && value.isBool() ? IValue(false) : value);
  }

  // The node itself is left without readers; dead code elimination takes it.
  void Replace(Node* node, const IValue& value) {
    const torch::jit::WithInsertPoint after(node->next());
    node->output()->replaceAllUsesWith(graph_.insertConstant(value));
  }

  Graph& graph_;
  std::unordered_map<const Value*, IValue> objects_;
  std::unordered_set<std::string> set_;  // names of attributes that some module's code sets
};

}  // namespace

void FoldFixedValues(const torch::jit::Module& module, std::shared_ptr<Graph>& graph) {
  Folder(module, *graph).Fold(graph->block());
  torch::jit::RemoveListMutation(graph);  // lists that are made by appending, as comprehensions make them
  // A check for None may hide behind a branch that goes away first. Shapes are left alone: those that a trace
  // noted are of its own example.
  bool changed = true;
  for (int round = 0; changed && round < 8; ++round) {
    changed = torch::jit::PeepholeOptimize(graph, /*disable_shape_peepholes=*/true);
    changed = torch::jit::ConstantPropagationImmutableTypes(graph) || changed;
  }
  // A result that nobody reads may be hidden in a tuple with one that is read.
  torch::jit::LowerSimpleTuples(graph);
  torch::jit::EliminateDeadCode(graph);
}

}  // namespace attribution::capture
