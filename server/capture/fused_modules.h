// Takes apart the operators that PyTorch's own modules run as a whole, so that their attention can be seen:
//
//   aten::_transformer_encoder_layer_fwd   nn.TransformerEncoderLayer without gradients
//   aten::_native_multi_head_attention     nn.MultiheadAttention without gradients
//   aten::_nested_tensor_from_mask, aten::to_padded_tensor
//                                          nn.TransformerEncoder around layers that get no padding
#ifndef SERVER_CAPTURE_FUSED_MODULES_H_
#define SERVER_CAPTURE_FUSED_MODULES_H_

#include <torch/csrc/jit/ir/ir.h>

#include <functional>

namespace attribution::capture {

// Replaces packing into nested tensors by the padded tensor, and gives its mask to the layers between packing
// and unpacking. Padded positions come out as unpacking fills them. A nested tensor that anything else reads
// stays.
void PadNestedTensors(torch::jit::Graph& graph);

// Replaces every fused module by projections, aten::scaled_dot_product_attention and the rest of its
// operators; written-out attention where the graph reads the attention weights too. For each node of a
// replacement `made(node, weights)` is called, with the projection weights of the module.
void TakeApartFusedModules(
    torch::jit::Graph& graph,
    const std::function<void(torch::jit::Node* node, torch::jit::Value* weights)>& made);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_FUSED_MODULES_H_
