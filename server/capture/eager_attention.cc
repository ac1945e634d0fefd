// Goes back from the softmax to a product, step by step, then forward to the next product. Where an operator
// has two tensors it is not known which one comes from the scores, so the first that leads to a product is
// followed. Last, everything that reads a value on the way must itself be on the way, or compute with its
// sizes only.
#include "server/capture/eager_attention.h"

#include <torch/csrc/jit/ir/constants.h>

#include <algorithm>
#include <optional>
#include <unordered_set>

#include "absl/strings/str_cat.h"

namespace attribution::capture {
namespace {

using torch::jit::Node;
using torch::jit::Use;
using torch::jit::Value;

bool Is(const Node* node, const char* name) {
  // The in-place form, aten::add_, changes a value that nobody else reads: the last check sees to that.
  const std::string_view kind = node->kind().toQualString();
  const std::string_view plain = name;
  return kind == plain || (kind.size() == plain.size() + 1 && kind.starts_with(plain) && kind.ends_with('_'));
}

bool IsAnyOf(const Node* node, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [node](const char* name) { return Is(node, name); });
}

std::string KindOf(const Node* node) { return node->kind().toQualString(); }

bool IsProduct(const Node* node) { return IsAnyOf(node, {"aten::matmul", "aten::bmm"}); }

// beta · a + alpha · x · y
bool IsProductAndSum(const Node* node) {
  return Is(node, "aten::baddbmm") && node->inputs().size() == 5 && !KindOf(node).ends_with('_');
}

bool IsTensor(const Value* value) { return value->type()->isSubtypeOf(*c10::TensorType::get()); }

// Whether input `index` is left out, None, or a constant floating dtype.
bool KeepsFloating(const Node* node, size_t index) {
  if (index >= node->inputs().size()) return true;
  const auto dtype = torch::jit::toIValue(node->input(index));
  if (!dtype.has_value()) return false;
  return dtype->isNone() || (dtype->isInt() && at::isFloatingType(dtype->toScalarType()));
}

// Of the overloads of aten::to: to(dtype), to(device, dtype) and to(other).
bool IsFloatingCast(const Node* node) {
  if (Is(node, "aten::type_as")) return true;
  if (!Is(node, "aten::to") || node->inputs().size() < 2) return false;
  if (IsTensor(node->input(1))) return true;
  const bool has_device = node->input(1)->type()->kind() == c10::TypeKind::DeviceObjType;
  return KeepsFloating(node, has_device ? 2 : 1);
}

bool IsFalse(const Value* value) {
  const auto constant = torch::jit::toIValue(value);
  if (constant.has_value()) return constant->isBool() && !constant->toBool();
  // Models are put into evaluation mode when they are loaded.
  return value->node()->kind() == c10::prim::GetAttr && value->node()->s(c10::attr::name) == "training";
}

// Operators that hand their first input on as far as numbers go.
bool KeepsValues(const Node* node) {
  if (Is(node, "aten::dropout")) return node->inputs().size() == 3 && IsFalse(node->input(2));
  return IsAnyOf(node, {"aten::contiguous", "aten::detach", "aten::clone", "aten::alias"}) ||
         IsFloatingCast(node);
}

bool IsReshape(const Node* node) {
  return IsAnyOf(node, {"aten::view", "aten::reshape", "aten::_unsafe_view"}) && node->inputs().size() == 2 &&
         !IsTensor(node->input(1)) && node->input(1)->type()->kind() == c10::TypeKind::ListType;
}

bool IsOne(const Value* value) {
  const auto constant = torch::jit::toIValue(value);
  return constant.has_value() && constant->isScalar() && constant->toScalar().toDouble() == 1;
}

// A way in which `node` may make its result of the scores.
struct Reading {
  Value* scores = nullptr;
  std::optional<ScoreStep> step;  // none: the values stay as they are
};

void ReadSum(Node* node, ScoreOperation operation, std::vector<Reading>& readings) {
  if (node->inputs().size() < 2) return;
  Value* number = node->inputs().size() > 2 ? node->input(2) : nullptr;
  readings.push_back({node->input(0), ScoreStep{operation, node->output(), node->input(1), number}});
  if (!IsTensor(node->input(1)) || (number != nullptr && !IsOne(number))) return;
  const auto reversed =
      operation == ScoreOperation::kSubtract ? ScoreOperation::kSubtractFrom : ScoreOperation::kAdd;
  readings.push_back({node->input(1), ScoreStep{reversed, node->output(), node->input(0), nullptr}});
}

void ReadPair(Node* node, ScoreOperation operation, bool commutes, std::vector<Reading>& readings) {
  if (node->inputs().size() != 2) return;
  readings.push_back({node->input(0), ScoreStep{operation, node->output(), node->input(1), nullptr}});
  if (commutes && IsTensor(node->input(1))) {
    readings.push_back({node->input(1), ScoreStep{operation, node->output(), node->input(0), nullptr}});
  }
}

std::vector<Reading> ReadingsOf(Node* node) {
  std::vector<Reading> readings;
  if (node->outputs().size() != 1 || node->inputs().empty()) return readings;
  Value* result = node->output();
  if (KeepsValues(node)) {
    readings.push_back({node->input(0), std::nullopt});
  } else if (IsReshape(node)) {
    readings.push_back(
        {node->input(0), ScoreStep{ScoreOperation::kReshape, result, node->input(1), nullptr}});
  } else if (Is(node, "aten::tanh")) {
    readings.push_back({node->input(0), ScoreStep{ScoreOperation::kTanh, result, nullptr, nullptr}});
  } else if (Is(node, "aten::add")) {
    ReadSum(node, ScoreOperation::kAdd, readings);
  } else if (Is(node, "aten::sub")) {
    ReadSum(node, ScoreOperation::kSubtract, readings);
  } else if (Is(node, "aten::mul")) {
    ReadPair(node, ScoreOperation::kMultiply, /*commutes=*/true, readings);
  } else if (Is(node, "aten::div")) {
    ReadPair(node, ScoreOperation::kDivide, /*commutes=*/false, readings);
  } else if (IsAnyOf(node, {"aten::max", "aten::maximum"}) && node->inputs().size() == 2 &&
             IsTensor(node->input(1))) {
    ReadPair(node, ScoreOperation::kMaximum, /*commutes=*/true, readings);
  } else if (IsAnyOf(node, {"aten::min", "aten::minimum"}) && node->inputs().size() == 2 &&
             IsTensor(node->input(1))) {
    ReadPair(node, ScoreOperation::kMinimum, /*commutes=*/true, readings);
  } else if (Is(node, "aten::masked_fill")) {
    readings.push_back(
        {node->input(0), ScoreStep{ScoreOperation::kMaskedFill, result, node->input(1), node->input(2)}});
  } else if (Is(node, "aten::where") && node->inputs().size() == 3) {
    readings.push_back(
        {node->input(1), ScoreStep{ScoreOperation::kKeepWhere, result, node->input(0), node->input(2)}});
    readings.push_back(
        {node->input(2), ScoreStep{ScoreOperation::kMaskedFill, result, node->input(0), node->input(1)}});
  }
  // The in-place form of an operator changes its first input, which must then be the scores.
  if (KindOf(node).ends_with('_')) readings.resize(std::min<size_t>(readings.size(), 1));
  return readings;
}

// Makes other numbers, or a list of them, out of sizes.
bool IsArithmetic(const Node* node) {
  return IsAnyOf(
      node, {"prim::NumToTensor", "aten::Int", "prim::ListConstruct", "aten::mul", "aten::floor_divide"});
}

class Matcher {
 public:
  explicit Matcher(Node* softmax) : block_(softmax->owningBlock()) { match_.softmax = softmax; }

  EagerAttention Match() {
    MatchSoftmax();
    if (match_.refusal.empty()) FindScores();
    if (match_.refusal.empty()) FindOutput();
    if (match_.refusal.empty()) CollectReaders();
    return std::move(match_);
  }

 private:
  void Refuse(const std::string& why) {
    if (match_.refusal.empty()) match_.refusal = why;
  }

  void MatchSoftmax() {
    const Node* softmax = match_.softmax;
    if (softmax->inputs().size() < 2 || !torch::jit::toIValue(softmax->input(1)).has_value()) {
      return Refuse("the dimension of its softmax is not constant");
    }
    if (Is(softmax, "aten::softmax") && !KeepsFloating(softmax, 2))
      Refuse("its softmax has an unknown dtype");
  }

  void TakeScores(Node* product) {
    const bool with_sum = IsProductAndSum(product);
    match_.scores = product;
    match_.query = product->input(with_sum ? 1 : 0);
    match_.key = product->input(with_sum ? 2 : 1);
    path_.push_back(product);
    if (!with_sum) return;
    Value* beta = product->input(3);
    Value* alpha = product->input(4);
    match_.score_steps.push_back({ScoreOperation::kMultiply, product->output(), alpha, nullptr});
    match_.score_steps.push_back({ScoreOperation::kAdd, product->output(), product->input(0), beta});
  }

  // Follows the scores back from `value`. Adds the steps in order.
  bool FollowBack(Value* value) {
    Node* node = value->node();
    if (node->owningBlock() != block_) return false;
    if (IsProduct(node) || IsProductAndSum(node)) {
      TakeScores(node);
      return true;
    }
    const std::vector<Reading> readings = ReadingsOf(node);
    if (readings.empty() && foreign_ == nullptr && node->kind() != c10::prim::Param) foreign_ = node;
    for (const Reading& reading : readings) {
      if (!FollowBack(reading.scores)) continue;
      if (reading.step.has_value()) match_.score_steps.push_back(*reading.step);
      path_.push_back(node);
      return true;
    }
    return false;
  }

  void FindScores() {
    if (!FollowBack(match_.softmax->input(0))) {
      return Refuse(foreign_ == nullptr
                        ? "no product of queries and keys leads to it in its own block"
                        : absl::StrCat(KindOf(foreign_), " stands between its scores and its softmax"));
    }
    path_.push_back(match_.softmax);
  }

  // The only node that reads the cells of `value`; null, and refuses, if there is none or another.
  Node* OnlyReader(const Value* value) {
    Node* reader = nullptr;
    for (const Use& use : value->uses()) {
      if (Is(use.user, "aten::size")) continue;
      if (use.user->kind() == c10::prim::Return) {
        Refuse("its probabilities are handed on as a result");
        return nullptr;
      }
      if (reader != nullptr || use.offset != 0 || use.user->owningBlock() != block_) {
        Refuse(absl::StrCat("its probabilities are read by ", KindOf(use.user), " too"));
        return nullptr;
      }
      reader = use.user;
    }
    if (reader == nullptr) Refuse("nothing reads its probabilities");
    return reader;
  }

  void FindOutput() {
    for (Value* value = match_.softmax->output();;) {
      Node* reader = OnlyReader(value);
      if (reader == nullptr) return;
      path_.push_back(reader);
      if (IsProduct(reader)) {
        match_.output = reader;
        return;
      }
      if (!KeepsValues(reader) && !IsReshape(reader)) {
        return Refuse(absl::StrCat(KindOf(reader), " stands between its softmax and its values"));
      }
      value = reader->output();
      if (IsReshape(reader)) {
        match_.probability_steps.push_back({ScoreOperation::kReshape, value, reader->input(1), nullptr});
      }
    }
  }

  // Everything that reads a value on the way must be on the way, or be about its sizes and lead back.
  void CollectReaders() {
    std::unordered_set<Node*> inside(path_.begin(), path_.end());
    const std::unordered_set<Node*> on_path = inside;
    std::vector<Node*> unread(path_.begin(), path_.end() - 1);  // anybody may read the output
    while (!unread.empty()) {
      Node* node = unread.back();
      unread.pop_back();
      for (const Use& use : node->output()->uses()) {
        if (inside.count(use.user) > 0) continue;
        const bool about_sizes =
            on_path.count(node) > 0 ? Is(use.user, "aten::size") : IsArithmetic(use.user);
        if (!about_sizes || use.user->owningBlock() != block_) {
          return Refuse(absl::StrCat("its scores, probabilities or their sizes are read by ",
                                     KindOf(use.user), " too"));
        }
        inside.insert(use.user);
        unread.push_back(use.user);
      }
    }
    for (const ScoreStep& step : match_.score_steps) {
      for (Value* value : {step.operand, step.number}) {
        if (value == nullptr || step.operation == ScoreOperation::kReshape) continue;
        if (inside.count(value->node()) > 0) return Refuse("its scores are combined with themselves");
      }
    }
    match_.nodes.assign(inside.begin(), inside.end());
    std::sort(match_.nodes.begin(), match_.nodes.end(),
              [](const Node* a, const Node* b) { return a->isBefore(b); });
    if (match_.nodes.back() != match_.output) Refuse("its sizes are read after its output");
  }

  const torch::jit::Block* block_;
  EagerAttention match_;
  std::vector<Node*> path_;  // from scores to output
  Node* foreign_ = nullptr;  // what ended the first way back
};

}  // namespace

EagerAttention MatchEagerAttention(Node* softmax) { return Matcher(softmax).Match(); }

bool GatherNodes(torch::jit::AliasDb& aliases, const EagerAttention& attention) {
  Node* next = attention.output;
  for (auto node = attention.nodes.rbegin() + 1; node != attention.nodes.rend(); ++node) {
    if (!aliases.moveBeforeTopologicallyValid(*node, next)) return false;
    next = *node;
  }
  // What must stay behind a node moves with it, and then stands between.
  for (size_t i = 0; i + 1 < attention.nodes.size(); ++i) {
    if (attention.nodes[i]->next() != attention.nodes[i + 1]) return false;
  }
  return true;
}

}  // namespace attribution::capture
