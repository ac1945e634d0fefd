// Inlining loses which module a node came from: the call stack that torch keeps drops a ModuleList between
// two modules
// (`encoder.layer.0` becomes `encoder.0`). So calls are inlined here one at a time: the receiver of each call
// is a chain of prim::GetAttr, whose names give the path, and every node that the call brings in belongs to
// that path until a deeper call says otherwise.
#include "server/capture/inlined_graph.h"

#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/passes/inliner.h>

#include <string>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "server/capture/attention_nodes.h"
#include "server/capture/eager_attention.h"
#include "server/capture/fixed_values.h"
#include "server/capture/fused_modules.h"

namespace attribution::capture {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

class Inliner {
 public:
  explicit Inliner(const Value* self) { module_paths_[self] = ""; }

  void InlineBlock(Block* block, const std::string& owner) {
    InlineRange(block->nodes().begin(), block->nodes().end(), owner);
  }

  const std::string& OwnerOf(const Node* node) const {
    static const std::string unknown;
    const auto found = owners_.find(node);
    return found == owners_.end() ? unknown : found->second;
  }

  // `node` belongs to the module that holds `weights`.
  void BelongsToHolderOf(const Node* node, const Value* weights) {
    const bool held = weights->node()->kind() == c10::prim::GetAttr;
    const auto holder = held ? module_paths_.find(weights->node()->input()) : module_paths_.end();
    owners_[node] = holder == module_paths_.end() ? "" : holder->second;
  }

 private:
  using Iterator = torch::jit::graph_node_list_iterator;

  void InlineRange(Iterator begin, Iterator end, const std::string& owner) {
    for (Iterator it = begin; it != end;) {
      Node* node = *it;
      ++it;  // before the node goes
      Visit(node, owner);
    }
  }

  void Visit(Node* node, const std::string& owner) {
    if (node->kind() == c10::prim::GetAttr) RememberSubmodule(node);
    torch::jit::GraphFunction* callee = torch::jit::tryToGraphFunction(node);
    if (callee != nullptr) {
      InlineCall(node, callee, owner);
      return;
    }
    owners_[node] = owner;
    for (Block* block : node->blocks()) InlineBlock(block, owner);
  }

  void RememberSubmodule(const Node* node) {
    const auto parent = module_paths_.find(node->input());
    if (parent == module_paths_.end()) return;
    const std::string& name = node->s(c10::attr::name);
    module_paths_[node->output()] = parent->second.empty() ? name : parent->second + "." + name;
  }

  void InlineCall(Node* call, torch::jit::GraphFunction* callee, const std::string& owner) {
    std::string callee_owner = owner;
    if (call->kind() == c10::prim::CallMethod) {
      const auto receiver = module_paths_.find(call->input(0));
      if (receiver != module_paths_.end()) callee_owner = receiver->second;
    } else {
      call->removeInput(0);  // of prim::CallFunction: the function itself, which its body does not take
    }
    Node* before = call->prev();
    Node* after = call->next();
    const std::shared_ptr<Graph> body = callee->graph();  // as written, not optimised: nodes must not merge
    torch::jit::inlineCallTo(call, callee, body.get());
    InlineRange(++before->iterator(), after->iterator(), callee_owner);
  }

  std::unordered_map<const Value*, std::string> module_paths_;
  std::unordered_map<const Node*, std::string> owners_;
};

// Says why the softmax is to be tapped; moves its attention together and returns nothing if it is not.
std::string ReasonToTap(torch::jit::AliasDb& aliases, Node* softmax) {
  const EagerAttention attention = MatchEagerAttention(softmax);
  if (!attention.refusal.empty()) return attention.refusal;
  return GatherNodes(aliases, attention) ? "" : "what its operators read is changed in place between them";
}

void Collect(Block* block, std::vector<Node*>& nodes) {
  for (Node* node : block->nodes()) {
    if (IsFusedAttention(node) || IsSoftmax(node)) nodes.push_back(node);
    for (Block* inner : node->blocks()) Collect(inner, nodes);
  }
}

}  // namespace

std::vector<Node*> CandidateNodes(Graph& graph) {
  std::vector<Node*> nodes;
  Collect(graph.block(), nodes);
  return nodes;
}

namespace {

// Whether an enclosing loop has a number of rounds, or a condition, that is not constant.
bool LoopsByInput(const Node* node) {
  for (const Node* outer = node->owningBlock()->owningNode(); outer != nullptr;
       outer = outer->owningBlock()->owningNode()) {
    if (outer->kind() != c10::prim::Loop) continue;
    const Value* goes_on = outer->blocks()[0]->outputs()[0];
    for (const Value* value :
         std::initializer_list<const Value*>{outer->input(0), outer->input(1), goes_on}) {
      if (value->node()->kind() != c10::prim::Constant) return true;
    }
  }
  return false;
}

}  // namespace

std::string SourceOf(const Node& node) {
  // What stands in the file itself was written by torch, from the code that it remembers.
  const torch::jit::SourceRange& written = node.sourceRange();
  if (written.source() == nullptr) return "";
  const auto original = written.source()->findSourceRangeThatGenerated(written);
  if (!original.has_value()) return "";
  const auto place = original->file_line_col();
  if (!place.has_value()) return "";
  const std::string& file = std::get<0>(*place);
  if (file.empty() || file.front() == '<') return "";  // typed in, not a file
  return absl::StrCat(file.substr(file.rfind('/') + 1), ":", std::get<1>(*place));
}

std::vector<bool> InlinedGraph::EagerInBlocks() const {
  std::vector<bool> in_blocks;
  in_blocks.reserve(candidates.size());
  for (const Candidate& candidate : candidates) {
    in_blocks.push_back(!candidate.fused && candidate.kind == SiteKind::kBlocked);
  }
  return in_blocks;
}

InlinedGraph InlineForward(const torch::jit::Module& module) {
  InlinedGraph inlined;
  inlined.graph = module.get_method("forward").graph()->copy();
  Inliner inliner(inlined.graph->inputs().at(0));
  inliner.InlineBlock(inlined.graph->block(), "");
  inlined.as_written = inlined.graph->copy();
  FoldFixedValues(module, inlined.graph);
  PadNestedTensors(*inlined.graph);
  TakeApartFusedModules(*inlined.graph, [&inliner](const Node* node, const Value* weights) {
    inliner.BelongsToHolderOf(node, weights);
  });
  FoldFixedValues(module, inlined.graph);
  torch::jit::AliasDb aliases(inlined.graph);
  std::unordered_map<const Node*, std::string> reasons;
  for (Node* node : CandidateNodes(*inlined.graph)) {
    if (!IsFusedAttention(node)) reasons[node] = ReasonToTap(aliases, node);
  }
  // Numbered now: gathering may have changed their order.
  const std::vector<Node*> nodes = CandidateNodes(*inlined.graph);
  const std::vector<AttentionRelation> relations = RelationsOf(*inlined.graph, nodes);
  for (size_t i = 0; i < nodes.size(); ++i) {
    Candidate& candidate = inlined.candidates.emplace_back();
    candidate.fused = IsFusedAttention(nodes[i]);
    candidate.operator_name = nodes[i]->kind().toQualString();
    candidate.module_path = inliner.OwnerOf(nodes[i]);
    candidate.tap_reason = candidate.fused ? "" : reasons.at(nodes[i]);
    candidate.kind = candidate.tap_reason.empty() ? SiteKind::kBlocked : SiteKind::kTapped;
    candidate.source = SourceOf(*nodes[i]);
    candidate.conditional = nodes[i]->owningBlock() != inlined.graph->block();
    candidate.loops_by_input = LoopsByInput(nodes[i]);
    candidate.relation = relations[i];
  }
  return inlined;
}

}  // namespace attribution::capture
