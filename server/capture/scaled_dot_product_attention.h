// aten::scaled_dot_product_attention, computed in blocks.
#ifndef SERVER_CAPTURE_SCALED_DOT_PRODUCT_ATTENTION_H_
#define SERVER_CAPTURE_SCALED_DOT_PRODUCT_ATTENTION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "server/capture/attention_observer.h"

namespace attribution::capture {

// Arguments of aten::scaled_dot_product_attention.
struct AttentionInputs {
  at::Tensor query;                // [B, H, S, D]
  at::Tensor key;                  // [B, K, T, D]; K = H, or divides H with enable_gqa
  at::Tensor value;                // [B, K, T, V]
  std::optional<at::Tensor> mask;  // broadcastable to [B, H, S, T]: bool, true keeps; or added to the scores
  double dropout = 0;              // ignored: models run in evaluation mode
  bool is_causal = false;
  std::optional<double> scale;  // default 1 / sqrt(D)
  bool enable_gqa = false;
};

// The inputs in four dimensions if they are attention over whole sequences, that is S = T and a mask that
// broadcasts; else nothing. Of three dimensions, [B·H, S, D], the first is parted into B and `heads`.
std::optional<AttentionInputs> HeadsApart(const AttentionInputs& inputs, int64_t heads);

// The sizes of the probabilities: those of the query, the last one T.
std::vector<int64_t> ProbabilitySizes(const AttentionInputs& inputs);

// B, H and S of the operator. REQUIRES: `inputs` come from HeadsApart.
LayerShape ShapeOf(const AttentionInputs& inputs, int32_t site);

// What the original operator computes: [B, H, S, V].
at::Tensor PlainAttention(const AttentionInputs& inputs);

// Computes attention, [B, H, S, V], and shows every block of probabilities to `observer` by AddRows. A row
// that the mask leaves empty becomes zero, as in ATen. Scores and softmax of half-precision models are
// float32. Returns an undefined tensor unless `needs_output`. REQUIRES: `inputs` come from HeadsApart.
at::Tensor BlockedAttention(const AttentionInputs& inputs, bool needs_output, AttentionObserver& observer);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_SCALED_DOT_PRODUCT_ATTENTION_H_
