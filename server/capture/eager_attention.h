// Recognises attention that is written out operator by operator:
//
//   matmul(query, key) ─▶ scale, bias, mask, soft cap, … ─▶ softmax ─▶ (dropout, casts) ─▶ matmul(·, value)
//
// What is recognised can be computed a block of rows at a time: between the products every operator works
// cell by cell, except for the softmax, which needs whole rows, and for reshapes that fold batch and heads
// into one dimension or part them again. Shapes are not in a graph; score_program.h checks them at run time.
#ifndef SERVER_CAPTURE_EAGER_ATTENTION_H_
#define SERVER_CAPTURE_EAGER_ATTENTION_H_

#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/ir/ir.h>

#include <string>
#include <vector>

namespace attribution::capture {

// What a step makes of the scores x, cell by cell; `a` is its operand, `c` its number.
enum class ScoreOperation {
  kAdd,           // x + c·a
  kSubtract,      // x - c·a
  kSubtractFrom,  // a - x
  kMultiply,      // x · a
  kDivide,        // x / a
  kTanh,
  kMaximum,     // max(x, a)
  kMinimum,     // min(x, a)
  kMaskedFill,  // c where a, else x
  kKeepWhere,   // x where a, else c
  kReshape,     // to the sizes a: parts or folds the dimensions before the last two
};

struct ScoreStep {
  ScoreOperation operation = ScoreOperation::kTanh;
  torch::jit::Value* result = nullptr;
  torch::jit::Value* operand = nullptr;  // a; null for kTanh
  torch::jit::Value* number = nullptr;   // c; a tensor too for kMaskedFill and kKeepWhere; null is 1
};

// One attention, as it stands in a graph. Pointers are into the graph.
struct EagerAttention {
  torch::jit::Node* scores = nullptr;  // the product of query and key
  torch::jit::Value* query = nullptr;  // its operands
  torch::jit::Value* key = nullptr;
  torch::jit::Node* softmax = nullptr;       // over the last dimension
  torch::jit::Node* output = nullptr;        // the product of probabilities and value
  std::vector<ScoreStep> score_steps;        // between scores and softmax
  std::vector<ScoreStep> probability_steps;  // between softmax and output: reshapes only
  std::vector<torch::jit::Node*> nodes;  // all that depends on the scores, from scores to output, in order

  // Why the softmax is not part of such an attention; empty if it is, and all of the above is filled in.
  std::string refusal;
};

// Recognises the attention around `softmax` (aten::softmax or aten::_softmax). Refuses when something else
// reads scores or probabilities, for then they must exist as a whole.
EagerAttention MatchEagerAttention(torch::jit::Node* softmax);

// Moves the nodes of an attention together, right before its output, so that it can be replaced by one node
// there. Returns false, and leaves the graph equivalent, if something in between is changed in place.
bool GatherNodes(torch::jit::AliasDb& aliases, const EagerAttention& attention);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_EAGER_ATTENTION_H_
