// Reads from a graph which sequences an attention relates: whether queries and keys are made of the same
// stream of hidden states, or keys of another one, as in the cross attention of a decoder.
#ifndef SERVER_CAPTURE_ATTENTION_STREAMS_H_
#define SERVER_CAPTURE_ATTENTION_STREAMS_H_

#include <torch/csrc/jit/ir/ir.h>

#include <cstddef>
#include <vector>

namespace attribution::capture {

enum class Relation {
  kUnknown,  // no product of queries and keys was found
  kSelf,
  kCross,
};

struct AttentionRelation {
  Relation relation = Relation::kUnknown;
  // Of kCross: the attentions that keys are made of and queries are not, directly or not, ascending.
  std::vector<size_t> memory;
};

// Goes back from queries and keys over everything that works position by position, down to what mixes
// positions (products of two activations, fused attention) and to embeddings and inputs. Self-attention has
// the same origins on both sides, up to embeddings that only one side adds. `attentions`: nodes of
// aten::scaled_dot_product_attention, and softmaxes, whose product is looked for.
std::vector<AttentionRelation> RelationsOf(const torch::jit::Graph& graph,
                                           const std::vector<torch::jit::Node*>& attentions);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_ATTENTION_STREAMS_H_
