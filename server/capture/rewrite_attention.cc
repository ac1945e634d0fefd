#include "server/capture/rewrite_attention.h"

#include <torch/csrc/jit/passes/dead_code_elimination.h>

#include "server/capture/attention_nodes.h"
#include "server/capture/attention_operators.h"
#include "server/capture/eager_attention.h"
#include "server/capture/eager_fragment.h"
#include "server/capture/inlined_graph.h"

namespace attribution::capture {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

// Inputs of aten::scaled_dot_product_attention; files of older versions lack the last ones.
constexpr size_t kDropoutInput = 4;
constexpr size_t kIsCausalInput = 5;
constexpr size_t kScaleInput = 6;
constexpr size_t kEnableGqaInput = 7;
// Inputs of attribution::blocked_attention beyond those.
constexpr size_t kNeedsOutputInput = 10;

void ReplaceFused(Graph& graph, Node* fused, int32_t site, int64_t heads, Value* observer) {
  torch::jit::WithInsertPoint before(fused);
  Node* blocked = graph.create(BlockedAttentionSymbol(), fused->inputs(), 1);
  const size_t given = fused->inputs().size();
  if (given <= kDropoutInput) blocked->addInput(graph.insertConstant(0.0));
  if (given <= kIsCausalInput) blocked->addInput(graph.insertConstant(false));
  if (given <= kScaleInput) blocked->addInput(graph.insertConstant(torch::jit::IValue()));
  if (given <= kEnableGqaInput) blocked->addInput(graph.insertConstant(false));
  blocked->addInput(graph.insertConstant(static_cast<int64_t>(site)));
  blocked->addInput(graph.insertConstant(heads));
  blocked->addInput(graph.insertConstant(true));
  blocked->addInput(observer);
  graph.insertNode(blocked);
  blocked->output()->copyMetadata(fused->output());
  fused->output()->replaceAllUsesWith(blocked->output());
  fused->destroy();
}

void SkipUnreadOutputs(Graph& graph, Block* block) {
  for (Node* node : block->nodes()) {
    for (Block* inner : node->blocks()) SkipUnreadOutputs(graph, inner);
    if (node->kind() == EagerAttentionSymbol() && !node->output()->hasUses()) {
      node->i_(NeedsOutputAttribute(), 0);
    }
    if (node->kind() != BlockedAttentionSymbol() || node->output()->hasUses()) continue;
    torch::jit::WithInsertPoint before(node);
    node->replaceInput(kNeedsOutputInput, graph.insertConstant(false));
  }
}

}  // namespace

void TapSoftmax(Graph& graph, Node* softmax, int32_t site, int64_t heads, Value* observer) {
  torch::jit::WithInsertPoint after(softmax->next());
  Value* site_constant = graph.insertConstant(static_cast<int64_t>(site));
  Value* heads_constant = graph.insertConstant(heads);
  Node* tap = graph.create(TapSymbol(), {softmax->output(), site_constant, heads_constant, observer}, 1);
  graph.insertNode(tap);
  tap->output()->copyMetadata(softmax->output());
  softmax->output()->replaceAllUsesAfterNodeWith(tap, tap->output());
}

void RewriteAttention(Graph& graph, const std::vector<int32_t>& site_of, const std::vector<bool>& in_blocks,
                      const std::vector<int32_t>& heads) {
  const std::vector<Node*> candidates = CandidateNodes(graph);
  TORCH_CHECK(candidates.size() == site_of.size() &&
                  (in_blocks.empty() || candidates.size() == in_blocks.size()) &&
                  (heads.empty() || candidates.size() == heads.size()),
              "The graph holds ", candidates.size(), " candidates, ", site_of.size(), " are named.");
  Value* observer = graph.addInput("observer")->setType(ObserverType());
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (site_of[i] == kNotASite) continue;
    const int64_t folded_heads = heads.empty() ? 1 : heads[i];
    if (IsFusedAttention(candidates[i])) {
      ReplaceFused(graph, candidates[i], site_of[i], folded_heads, observer);
    } else if (!in_blocks.empty() && in_blocks[i]) {
      ReplaceByFragment(graph, MatchEagerAttention(candidates[i]), site_of[i], folded_heads, observer);
    } else {
      TapSoftmax(graph, candidates[i], site_of[i], folded_heads, observer);
    }
  }
  graph.lint();
}

void CutAfterLastSite(Graph& graph) {
  while (!graph.outputs().empty()) graph.eraseOutput(graph.outputs().size() - 1);
  torch::jit::EliminateDeadCode(graph.block());
  SkipUnreadOutputs(graph, graph.block());
  torch::jit::EliminateDeadCode(graph.block());
  graph.lint();
}

}  // namespace attribution::capture
