// For each sequence and each block of n = 128 query rows:
//
//   scores [H, n, S] = mask + scale · Q_block · Kᵀ        one batched product; the mask is broadcast, never
//   expanded over B probabilities    = softmax(scores), in place observer         <- probabilities fuses
//   heads, measures, folds output block     = probabilities · V                   written into [B, S, H, V],
//   the layout the model reads next
//
// The same block of memory serves every sequence and block of a layer. Plain ATen calls are used throughout:
// they run on CPU and CUDA alike, and a hand-written loop over gemm was measured to be slower.
#include "server/capture/blocked_attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "server/memory/allocation_counter.h"

namespace attribution::capture {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// Whether a mask changes nothing. Looking costs a fraction of adding it to every head; on an accelerator it
// would make the host wait, so there every mask counts.
bool ChangesNothing(const at::Tensor& mask) {
  if (!mask.device().is_cpu()) return false;
  return (mask.scalar_type() == at::kBool ? mask : mask.eq(0)).all().item<bool>();
}

// What is added to the scores of one sequence: its mask, and minus infinity above the diagonal.
class SequenceMask {
 public:
  // `mask` is broadcastable to [B, H, S, S]; `sequence` selects its batch. `dtype` is that of the scores.
  SequenceMask(const std::optional<at::Tensor>& mask, bool is_causal, int64_t sequence, at::ScalarType dtype)
      : is_causal_(is_causal) {
    if (!mask.has_value()) return;
    at::Tensor own = *mask;
    while (own.dim() < 4) own = own.unsqueeze(0);
    own = own.select(0, own.size(0) == 1 ? 0 : sequence);  // [1 or H, 1 or S, 1 or S]
    if (ChangesNothing(own)) return;
    if (own.scalar_type() == at::kBool) {
      own =
          at::zeros(own.sizes(), own.options().dtype(dtype)).masked_fill_(own.logical_not(), kMinusInfinity);
    }
    added_ = own.to(dtype);
  }

  bool empty() const { return !added_.defined() && !is_causal_; }

  // Rows [first, first + n), broadcastable to the scores [H, n, S]. REQUIRES: not empty().
  at::Tensor Rows(int64_t first, int64_t n, const at::Tensor& scores) const {
    at::Tensor rows;
    if (added_.defined()) rows = added_.size(1) == 1 ? added_ : added_.narrow(1, first, n);
    if (!is_causal_) return rows;
    const at::Tensor later =
        at::full({1, n, scores.size(2)}, kMinusInfinity, scores.options()).triu_(first + 1);
    return rows.defined() ? rows + later : later;
  }

 private:
  at::Tensor added_;
  bool is_causal_;
};

// Softmax makes NaN of a row that the mask leaves empty; ATen's operator makes it 0. Other NaNs are the
// model's and stay.
void ZeroEmptyRows(const at::Tensor& mask_rows, at::Tensor& probabilities) {
  // Such a row is NaN from its first cell on. On an accelerator looking would make the host wait.
  if (probabilities.device().is_cpu() && !probabilities.select(2, 0).isnan().any().item<bool>()) return;
  probabilities.masked_fill_(mask_rows.amax(-1, /*keepdim=*/true).eq(kMinusInfinity), 0);
}

// Keys or values of one sequence for every query head: [H, S, D].
at::Tensor HeadsOf(const at::Tensor& tensor, int64_t sequence, int64_t heads) {
  const at::Tensor own = tensor.select(0, sequence);
  return own.size(0) == heads ? own : own.repeat_interleave(heads / own.size(0), 0);
}

}  // namespace

bool IsSelfAttention(const AttentionInputs& inputs) {
  return inputs.query.dim() == 4 && inputs.key.dim() == 4 && inputs.value.dim() == 4 &&
         inputs.query.size(2) == inputs.key.size(2) && inputs.query.size(0) == inputs.key.size(0);
}

LayerShape ShapeOf(const AttentionInputs& inputs, int32_t site) {
  return {site, inputs.query.size(0), inputs.query.size(1), inputs.query.size(2)};
}

at::Tensor PlainAttention(const AttentionInputs& inputs) {
  return at::scaled_dot_product_attention(inputs.query, inputs.key, inputs.value, inputs.mask, inputs.dropout,
                                          inputs.is_causal, inputs.scale, inputs.enable_gqa);
}

at::Tensor BlockedAttention(const AttentionInputs& inputs, bool needs_output, AttentionObserver& observer) {
  const at::Tensor& query = inputs.query;
  const int64_t batch = query.size(0);
  const int64_t heads = query.size(1);
  const int64_t length = query.size(2);
  const at::ScalarType model_dtype = query.scalar_type();
  const bool half = model_dtype == at::kHalf || model_dtype == at::kBFloat16;
  const at::ScalarType dtype = half ? at::kFloat : model_dtype;
  const double scale = inputs.scale.value_or(1.0 / std::sqrt(static_cast<double>(query.size(3))));

  at::Tensor output;
  if (needs_output) {
    output = at::empty({batch, length, heads, inputs.value.size(3)}, query.options()).transpose(1, 2);
  }
  memory::AttentionScope scope;  // all that is allocated from here on serves the attention alone
  const at::Tensor scratch =
      at::empty({heads * std::min(kBlockRows, length) * length}, query.options().dtype(dtype));
  for (int64_t sequence = 0; sequence < batch; ++sequence) {
    const at::Tensor queries = query.select(0, sequence).to(dtype);
    const at::Tensor keys = HeadsOf(inputs.key, sequence, heads).to(dtype).transpose(1, 2);  // [H, D, S]
    const at::Tensor values = HeadsOf(inputs.value, sequence, heads).to(dtype);
    const SequenceMask mask(inputs.mask, inputs.is_causal, sequence, dtype);
    for (int64_t first = 0; first < length; first += kBlockRows) {
      const int64_t n = std::min(kBlockRows, length - first);
      at::Tensor block = scratch.narrow(0, 0, heads * n * length).view({heads, n, length});
      const at::Tensor query_block = queries.narrow(1, first, n);
      if (mask.empty()) {
        at::baddbmm_out(block, block, query_block, keys, /*beta=*/0, /*alpha=*/scale);
        at::_softmax_out(block, block, -1, /*half_to_float=*/false);
      } else {
        const at::Tensor mask_rows = mask.Rows(first, n, block);
        at::baddbmm_out(block, mask_rows.expand_as(block), query_block, keys, /*beta=*/1, /*alpha=*/scale);
        at::_softmax_out(block, block, -1, /*half_to_float=*/false);
        ZeroEmptyRows(mask_rows, block);
      }
      observer.AddRows(sequence, first, block);
      if (!needs_output) continue;
      at::Tensor output_block = output.select(0, sequence).narrow(1, first, n);
      if (half) {
        output_block.copy_(at::bmm(block, values));
      } else {
        at::bmm_out(output_block, block, values);
      }
    }
  }
  return output;
}

}  // namespace attribution::capture
