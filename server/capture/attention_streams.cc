#include "server/capture/attention_streams.h"

#include <torch/csrc/jit/ir/constants.h>

#include <algorithm>
#include <deque>
#include <iterator>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "server/capture/attention_nodes.h"

namespace attribution::capture {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Use;
using torch::jit::Value;
using Origins = std::set<const Value*>;

bool Is(const Node* node, std::string_view name) { return node->kind().toQualString() == name; }

// Whether a value is or holds tensors.
bool CarriesTensors(const Value* value) {
  const c10::TypePtr& type = value->type();
  switch (type->kind()) {
    case c10::TypeKind::TensorType:
    case c10::TypeKind::OptionalType:
    case c10::TypeKind::UnionType:
    case c10::TypeKind::TupleType:
    case c10::TypeKind::DictType:
      return true;
    case c10::TypeKind::ListType:
      return type->containedType(0)->kind() == c10::TypeKind::TensorType;
    default:
      return false;
  }
}

// The two operands of a product; nothing if the node is none.
std::optional<std::pair<const Value*, const Value*>> OperandsOf(const Node* node) {
  if (Is(node, "aten::matmul") || Is(node, "aten::bmm")) return std::pair(node->input(0), node->input(1));
  if (Is(node, "aten::baddbmm")) return std::pair(node->input(1), node->input(2));
  if (!Is(node, "aten::einsum") || node->inputs().size() < 2) return std::nullopt;
  const Node* list = node->input(1)->node();
  if (list->kind() != c10::prim::ListConstruct || list->inputs().size() != 2) return std::nullopt;
  return std::pair(list->input(0), list->input(1));
}

// Adds what may be element `index` of a list or tuple; the whole of it where that is not known.
void AddElements(const Value* whole, int64_t index, std::vector<const Value*>& elements) {
  const Node* node = whole->node();
  if (node->kind() == c10::prim::If) {
    for (const Block* block : node->blocks()) AddElements(block->outputs()[whole->offset()], index, elements);
    return;
  }
  const bool known = node->kind() == c10::prim::ListConstruct || node->kind() == c10::prim::TupleConstruct;
  const auto count = static_cast<int64_t>(node->inputs().size());
  const int64_t position = index < 0 ? index + count : index;
  elements.push_back(known && position >= 0 && position < count ? node->input(position) : whole);
}

// Which element of a list or tuple `value` is; nothing if it is not taken out of one.
std::optional<int64_t> IndexOf(const Value* value) {
  const Node* node = value->node();
  if (node->kind() == c10::prim::ListUnpack || node->kind() == c10::prim::TupleUnpack) return value->offset();
  if (!Is(node, "aten::__getitem__") && node->kind() != c10::prim::TupleIndex) return std::nullopt;
  return torch::jit::constant_as<int64_t>(node->input(1));
}

// Whether a node makes new features: scores are never projected, the logits of a gate or a classifier are.
bool IsProjection(const Node* node) {
  return Is(node, "aten::linear") || Is(node, "aten::addmm") || Is(node, "aten::mm") ||
         Is(node, "aten::layer_norm") || OperandsOf(node).has_value();
}

class Streams {
 public:
  explicit Streams(const Graph& graph) {
    for (size_t i = 1; i < graph.inputs().size(); ++i) depends_.insert(graph.inputs()[i]);
    Spread(graph.block());
  }

  // Of every part of `value` that depends on an input.
  const Origins& OriginsOf(const Value* value) {
    const auto found = origins_.find(value);
    if (found != origins_.end()) return found->second;
    Origins origins;
    const Node* node = value->node();
    if (depends_.count(value) > 0) {
      if (node->kind() == c10::prim::Param || Is(node, "aten::embedding") || Mixes(node)) {
        origins.insert(value);
      } else {
        for (const Value* source : SourcesOf(value)) {
          const Origins& more = OriginsOf(source);
          origins.insert(more.begin(), more.end());
        }
      }
    }
    return origins_[value] = std::move(origins);
  }

  // Queries and keys of an attention; nothing if no product of both is found.
  std::optional<std::pair<const Value*, const Value*>> QueriesAndKeys(const Node* attention) const {
    if (IsFusedAttention(attention)) return std::pair(attention->input(0), attention->input(1));
    std::deque<const Value*> queue = {attention->input(0)};
    std::unordered_set<const Value*> seen;
    while (!queue.empty()) {
      const Value* value = queue.front();
      queue.pop_front();
      const Node* node = value->node();
      if (depends_.count(value) == 0 || !seen.insert(value).second) continue;
      if (MixesTwo(node)) return OperandsOf(node);
      if (node->kind() == c10::prim::Param || IsFusedAttention(node) || IsSoftmax(node) || IsProjection(node))
        continue;
      for (const Value* source : SourcesOf(value)) queue.push_back(source);
    }
    return std::nullopt;
  }

  // What an attention gives on: its own output, or the product of its probabilities; null if there is none.
  const Value* OutputOf(const Node* attention) const {
    if (IsFusedAttention(attention)) return attention->output();
    std::deque<const Value*> queue = {attention->output()};
    std::unordered_set<const Value*> seen;
    while (!queue.empty()) {
      const Value* value = queue.front();
      queue.pop_front();
      if (!seen.insert(value).second) continue;
      for (const Use& use : value->uses()) {
        if (MixesTwo(use.user)) return use.user->output();
        if (use.user->kind() == c10::prim::Return) {
          const Node* outer = use.user->owningBlock()->owningNode();
          if (outer != nullptr && outer->kind() == c10::prim::If) queue.push_back(outer->output(use.offset));
          continue;
        }
        for (const Value* result : use.user->outputs()) {
          if (CarriesTensors(result)) queue.push_back(result);
        }
      }
    }
    return nullptr;
  }

  bool IsMixed(const Value* value) const { return Mixes(value->node()); }

  // `origins`, what they were mixed of, and so on.
  Origins Closure(Origins origins) {
    std::vector<const Value*> unread(origins.begin(), origins.end());
    while (!unread.empty()) {
      const Value* value = unread.back();
      unread.pop_back();
      if (!IsMixed(value)) continue;
      for (const Value* source : SourcesOf(value)) {
        for (const Value* more : OriginsOf(source)) {
          if (origins.insert(more).second) unread.push_back(more);
        }
      }
    }
    return origins;
  }

 private:
  // Notes all values that depend on an input of forward. Loops may carry dependence round, so they are gone
  // through twice.
  void Spread(const Block* block) {
    for (const Node* node : block->nodes()) {
      const int rounds = node->kind() == c10::prim::Loop ? 2 : 1;
      for (int round = 0; round < rounds; ++round) {
        for (const Block* inner : node->blocks()) {
          if (node->kind() == c10::prim::Loop) EnterLoop(node, inner);
          Spread(inner);
        }
      }
      for (const Value* output : node->outputs()) {
        const std::vector<const Value*> sources = SourcesOf(output);
        const bool depends = std::any_of(sources.begin(), sources.end(),
                                         [this](const Value* source) { return depends_.count(source) > 0; });
        if (depends) depends_.insert(output);
      }
    }
  }

  // Block input i + 1 of a loop begins as input i + 2 and goes on as what the block returns.
  void EnterLoop(const Node* loop, const Block* body) {
    for (size_t i = 0; i + 2 < loop->inputs().size(); ++i) {
      if (depends_.count(loop->input(i + 2)) > 0 || depends_.count(body->outputs()[i + 1]) > 0) {
        depends_.insert(body->inputs()[i + 1]);
      }
    }
  }

  // The values that carry tensors into `value`.
  std::vector<const Value*> SourcesOf(const Value* value) const {
    const Node* node = value->node();
    std::vector<const Value*> sources;
    if (node->kind() == c10::prim::If) {
      for (const Block* block : node->blocks()) sources.push_back(block->outputs()[value->offset()]);
    } else if (node->kind() == c10::prim::Loop) {
      sources = {node->input(value->offset() + 2), node->blocks()[0]->outputs()[value->offset() + 1]};
    } else if (const auto index = IndexOf(value); index.has_value()) {
      AddElements(node->input(0), *index, sources);
    } else {
      sources.assign(node->inputs().begin(), node->inputs().end());
    }
    std::erase_if(sources, [](const Value* source) { return !CarriesTensors(source); });
    return sources;
  }

  bool MixesTwo(const Node* node) const {
    const auto operands = OperandsOf(node);
    return operands.has_value() && depends_.count(operands->first) > 0 &&
           depends_.count(operands->second) > 0;
  }

  bool Mixes(const Node* node) const { return IsFusedAttention(node) || MixesTwo(node); }

  std::unordered_set<const Value*> depends_;
  std::unordered_map<const Value*, Origins> origins_;
};

bool SameStream(const Streams& streams, const Origins& queries, const Origins& keys) {
  if (queries.empty() || keys.empty()) return false;
  Origins difference;
  std::set_symmetric_difference(queries.begin(), queries.end(), keys.begin(), keys.end(),
                                std::inserter(difference, difference.end()));
  const bool mixed = std::any_of(difference.begin(), difference.end(),
                                 [&streams](const Value* value) { return streams.IsMixed(value); });
  const bool nested = std::includes(queries.begin(), queries.end(), keys.begin(), keys.end()) ||
                      std::includes(keys.begin(), keys.end(), queries.begin(), queries.end());
  return nested && !mixed;
}

}  // namespace

std::vector<AttentionRelation> RelationsOf(const Graph& graph, const std::vector<Node*>& attentions) {
  Streams streams(graph);
  std::vector<const Value*> outputs;
  outputs.reserve(attentions.size());
  for (const Node* attention : attentions) outputs.push_back(streams.OutputOf(attention));
  std::vector<AttentionRelation> relations;
  for (const Node* attention : attentions) {
    AttentionRelation& relation = relations.emplace_back();
    const auto product = streams.QueriesAndKeys(attention);
    if (!product.has_value()) continue;
    const Origins queries = streams.OriginsOf(product->first);
    const Origins keys = streams.OriginsOf(product->second);
    relation.relation = SameStream(streams, queries, keys) ? Relation::kSelf : Relation::kCross;
    if (relation.relation == Relation::kSelf) continue;
    const Origins memory = streams.Closure(keys);
    const Origins own = streams.Closure(queries);
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (memory.count(outputs[i]) > 0 && own.count(outputs[i]) == 0) relation.memory.push_back(i);
    }
  }
  return relations;
}

}  // namespace attribution::capture
