// Attention written out as loops over float64, for tests to hold the fast ways against.
#ifndef TESTS_CAPTURE_REFERENCE_ATTENTION_H_
#define TESTS_CAPTURE_REFERENCE_ATTENTION_H_

#include <ATen/core/Tensor.h>

#include "server/capture/scaled_dot_product_attention.h"

namespace attribution::capture {

struct ReferenceAttention {
  at::Tensor probabilities;  // [B, H, S, S] float64
  at::Tensor output;         // [B, H, S, V] float64
};

// softmax(scale · Q Kᵀ + mask) V; a row that the mask leaves empty is zero.
ReferenceAttention ComputeReferenceAttention(const AttentionInputs& inputs);

}  // namespace attribution::capture

#endif  // TESTS_CAPTURE_REFERENCE_ATTENTION_H_
