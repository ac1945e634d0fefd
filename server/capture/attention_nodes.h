// The nodes that attention is recognised by.
//
// Pure functions; any thread.
#ifndef SERVER_CAPTURE_ATTENTION_NODES_H_
#define SERVER_CAPTURE_ATTENTION_NODES_H_

#include <torch/csrc/jit/ir/ir.h>

namespace attribution::capture {

// aten::scaled_dot_product_attention.
inline bool IsFusedAttention(const torch::jit::Node* node) {
  static const auto fused = c10::Symbol::fromQualString("aten::scaled_dot_product_attention");
  return node->kind() == fused;
}

// A softmax over any dimension.
inline bool IsSoftmax(const torch::jit::Node* node) {
  static const auto softmax = c10::Symbol::fromQualString("aten::softmax");
  static const auto raw_softmax = c10::Symbol::fromQualString("aten::_softmax");
  return node->kind() == softmax || node->kind() == raw_softmax;
}

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_ATTENTION_NODES_H_
