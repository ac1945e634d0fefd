// What takes the place of a fused module is written in TorchScript below and compiled once. It computes what
// aten/src/ATen/native/transformers/{transformer,attention}.cpp compute: masks are true, or not zero, where a
// query may not look; mask type 0 is [S, S], 1 is [B, S] of keys, 2 is [B, H, S, S].
#include "server/capture/fused_modules.h"

#include <torch/csrc/jit/api/compilation_unit.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/frontend/resolver.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/inliner.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace attribution::capture {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Use;
using torch::jit::Value;

constexpr const char* kReplacements = R"(
def allowed_cells(mask: Optional[Tensor], mask_type: Optional[int]) -> Optional[Tensor]:
    if mask is None:
        return None
    allowed = torch.eq(mask, 0)
    if mask_type is not None and mask_type == 1:
        allowed = allowed.unsqueeze(1).unsqueeze(1)
    return allowed

def heads_apart(states: Tensor, heads: int) -> Tensor:
    return states.view(states.size(0), states.size(1), heads, states.size(2) // heads).transpose(1, 2)

def project(states: Tensor, weights: Tensor, biases: Tensor, heads: int, part: int) -> Tensor:
    width = weights.size(0) // 3
    weight = weights.narrow(0, part * width, width)
    return heads_apart(torch.linear(states, weight, biases.narrow(0, part * width, width)), heads)

def self_attention(states: Tensor, heads: int, qkv_weight: Tensor, qkv_bias: Tensor, proj_weight: Tensor,
                   proj_bias: Tensor, mask: Optional[Tensor], mask_type: Optional[int]) -> Tensor:
    packed = torch.linear(states, qkv_weight, qkv_bias)
    width = packed.size(2) // 3
    query = heads_apart(packed.narrow(2, 0, width), heads)
    key = heads_apart(packed.narrow(2, width, width), heads)
    value = heads_apart(packed.narrow(2, 2 * width, width), heads)
    context = torch.scaled_dot_product_attention(query, key, value, allowed_cells(mask, mask_type))
    return torch.linear(context.transpose(1, 2).flatten(2), proj_weight, proj_bias)

def packed_attention(query: Tensor, key: Tensor, value: Tensor, embed_dim: int, num_head: int,
                     qkv_weight: Tensor, qkv_bias: Tensor, proj_weight: Tensor, proj_bias: Tensor,
                     mask: Optional[Tensor], need_weights: bool, average_attn_weights: bool,
                     mask_type: Optional[int]) -> Tensor:
    return self_attention(query, num_head, qkv_weight, qkv_bias, proj_weight, proj_bias, mask, mask_type)

def attention(query: Tensor, key: Tensor, value: Tensor, embed_dim: int, num_head: int, qkv_weight: Tensor,
              qkv_bias: Tensor, proj_weight: Tensor, proj_bias: Tensor, mask: Optional[Tensor],
              need_weights: bool, average_attn_weights: bool, mask_type: Optional[int]) -> Tensor:
    queries = project(query, qkv_weight, qkv_bias, num_head, 0)
    keys = project(key, qkv_weight, qkv_bias, num_head, 1)
    values = project(value, qkv_weight, qkv_bias, num_head, 2)
    context = torch.scaled_dot_product_attention(queries, keys, values, allowed_cells(mask, mask_type))
    return torch.linear(context.transpose(1, 2).flatten(2), proj_weight, proj_bias)

def attention_and_weights(query: Tensor, key: Tensor, value: Tensor, embed_dim: int, num_head: int,
                          qkv_weight: Tensor, qkv_bias: Tensor, proj_weight: Tensor, proj_bias: Tensor,
                          mask: Optional[Tensor], need_weights: bool, average_attn_weights: bool,
                          mask_type: Optional[int]) -> Tuple[Tensor, Tensor]:
    queries = project(query, qkv_weight, qkv_bias, num_head, 0)
    keys = project(key, qkv_weight, qkv_bias, num_head, 1)
    values = project(value, qkv_weight, qkv_bias, num_head, 2)
    scores = torch.matmul(queries, keys.transpose(2, 3)) / float(queries.size(3)) ** 0.5
    allowed = allowed_cells(mask, mask_type)
    if allowed is not None:
        scores = scores.masked_fill(torch.logical_not(allowed), float("-inf"))
    weights = torch.softmax(scores, -1)
    context = torch.matmul(weights, values)
    if average_attn_weights:
        weights = weights.mean(1)
    return torch.linear(context.transpose(1, 2).flatten(2), proj_weight, proj_bias), weights

def encoder_layer(src: Tensor, embed_dim: int, num_heads: int, qkv_weight: Tensor, qkv_bias: Tensor,
                  proj_weight: Tensor, proj_bias: Tensor, use_gelu: bool, norm_first: bool, eps: float,
                  norm_weight_1: Tensor, norm_bias_1: Tensor, norm_weight_2: Tensor, norm_bias_2: Tensor,
                  ffn_weight_1: Tensor, ffn_bias_1: Tensor, ffn_weight_2: Tensor, ffn_bias_2: Tensor,
                  mask: Optional[Tensor], mask_type: Optional[int]) -> Tensor:
    width = [embed_dim]
    x = src
    if norm_first:
        x = torch.layer_norm(x, width, norm_weight_1, norm_bias_1, eps)
    x = src + self_attention(x, num_heads, qkv_weight, qkv_bias, proj_weight, proj_bias, mask, mask_type)
    if not norm_first:
        x = torch.layer_norm(x, width, norm_weight_1, norm_bias_1, eps)
    residual = x
    if norm_first:
        x = torch.layer_norm(x, width, norm_weight_2, norm_bias_2, eps)
    x = torch.linear(x, ffn_weight_1, ffn_bias_1)
    x = torch.gelu(x) if use_gelu else torch.relu(x)
    x = residual + torch.linear(x, ffn_weight_2, ffn_bias_2)
    if not norm_first:
        x = torch.layer_norm(x, width, norm_weight_2, norm_bias_2, eps)
    return x
)";

std::shared_ptr<Graph> Replacement(const std::string& name) {
  static const auto compiled = [] {
    auto unit = std::make_shared<torch::jit::CompilationUnit>();
    unit->define(std::nullopt, kReplacements, torch::jit::nativeResolver(), /*self=*/nullptr);
    return unit;
  }();
  std::shared_ptr<Graph> graph = torch::jit::toGraphFunction(compiled->get_function(name)).graph()->copy();
  torch::jit::Inline(*graph);
  return graph;
}

bool Is(const Node* node, const char* name) { return node->kind() == c10::Symbol::fromQualString(name); }

constexpr const char* kEncoderLayer = "aten::_transformer_encoder_layer_fwd";
constexpr const char* kMultiHead = "aten::_native_multi_head_attention";

bool IsEncoderLayer(const Node* node) { return Is(node, kEncoderLayer); }

std::vector<Node*> NodesOf(Graph& graph, const char* kind) {
  return torch::jit::findAllNodes(graph, c10::Symbol::fromQualString(kind), /*recurse=*/true);
}

// Inputs of aten::_transformer_encoder_layer_fwd, and where both operators have their projection weights.
constexpr size_t kLayerMask = 18;
constexpr size_t kLayerMaskType = 19;
constexpr size_t kLayerWeights = 3;
constexpr size_t kMultiHeadWeights = 5;
constexpr size_t kNeedWeights = 10;

// The replacement of a node; null if it has to stay.
std::shared_ptr<Graph> ReplacementOf(const Node* node) {
  if (IsEncoderLayer(node)) return Replacement("encoder_layer");
  if (node->output(1)->hasUses()) {
    const auto needed = torch::jit::constant_as<bool>(node->input(kNeedWeights));
    if (!needed.has_value()) return nullptr;
    if (*needed) return Replacement("attention_and_weights");
  }
  const bool same = node->input(0) == node->input(1) && node->input(0) == node->input(2);
  return Replacement(same ? "packed_attention" : "attention");
}

// The nodes that read a nested tensor and those that it is handed on by; false if any other node reads one.
bool FollowNestedTensor(Value* nested, std::vector<Node*>& layers, std::vector<Node*>& unpacked) {
  for (const Use& use : nested->uses()) {
    Node* node = use.user;
    if (use.offset != 0) return false;
    if (Is(node, "aten::to_padded_tensor") || Is(node, "aten::nested_to_padded_tensor")) {
      unpacked.push_back(node);
      continue;
    }
    if (!IsEncoderLayer(node) || !node->input(kLayerMask)->mustBeNone()) return false;
    layers.push_back(node);
    if (!FollowNestedTensor(node->output(), layers, unpacked)) return false;
  }
  return true;
}

void PadNestedTensor(Graph& graph, Node* packed) {
  std::vector<Node*> layers;
  std::vector<Node*> unpacked;
  if (!FollowNestedTensor(packed->output(), layers, unpacked)) return;
  const torch::jit::WithInsertPoint before(packed);
  Value* hidden = graph.insert(c10::aten::logical_not, {packed->input(1)});  // [B, S], true at padding
  Value* keys_only = graph.insertConstant(1);
  for (Node* layer : layers) {
    layer->replaceInput(kLayerMask, hidden);
    layer->replaceInput(kLayerMaskType, keys_only);
  }
  for (Node* node : unpacked) {
    const torch::jit::WithInsertPoint here(node);
    Value* positions = graph.insert(c10::aten::unsqueeze, {hidden, -1});
    Value* padded = graph.insert(c10::aten::masked_fill, {node->input(0), positions, node->input(1)});
    node->output()->replaceAllUsesWith(padded);
    node->destroy();
  }
  packed->output()->replaceAllUsesWith(packed->input(0));
  packed->destroy();
}

}  // namespace

void PadNestedTensors(Graph& graph) {
  for (Node* node : NodesOf(graph, "aten::_nested_tensor_from_mask")) PadNestedTensor(graph, node);
}

void TakeApartFusedModules(Graph& graph, const std::function<void(Node* node, Value* weights)>& made) {
  std::vector<Node*> fused = NodesOf(graph, kEncoderLayer);
  const std::vector<Node*> attentions = NodesOf(graph, kMultiHead);
  fused.insert(fused.end(), attentions.begin(), attentions.end());
  for (Node* node : fused) {
    const std::shared_ptr<Graph> replacement = ReplacementOf(node);
    if (replacement == nullptr) continue;
    Value* weights = node->input(IsEncoderLayer(node) ? kLayerWeights : kMultiHeadWeights);
    Node* before = node->prev();
    const torch::jit::WithInsertPoint here(node);
    const std::vector<Value*> results =
        torch::jit::unpackOutputs(torch::jit::insertGraph(graph, *replacement, node->inputs()));
    for (size_t i = 0; i < results.size(); ++i) node->output(i)->replaceAllUsesWith(results[i]);
    if (results.size() < node->outputs().size()) {  // weights that are handed on without being computed
      node->output(1)->replaceAllUsesWith(graph.insertNode(graph.createAutogradZero())->output());
    }
    for (Node* own = before->next(); own != node; own = own->next()) {
      own->setSourceRange(node->sourceRange());
      made(own, weights);
    }
    node->destroy();
  }
}

}  // namespace attribution::capture
