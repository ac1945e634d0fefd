// For each sequence and each block of n query rows:
//
//   scores [H, n, S] = scale · Q_block · Kᵀ             one batched product
//   probabilities    = softmax(scores + mask)           in place; the mask is broadcast, never expanded
//   observer        <- probabilities                    fuses heads, measures, folds
//   output block     = probabilities · V                written into [B, S, H, V], the layout the model reads
//   next
//
// On the CPU the blocks of a sequence are shared out over the threads: every step of a block runs on one
// core, while its scores are in that core's cache, and no step waits for the others.
#include "server/capture/blocked_attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/ThreadLocalState.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "server/capture/softmax_kernel.h"
#include "server/memory/allocation_counter.h"

namespace attribution::capture {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How the rows of a sequence are cut: into blocks of `rows`, `threads` of which are in work at once.
struct Blocks {
  int64_t threads = 1;
  int64_t rows = 1;
  int64_t count = 1;

  Blocks(int64_t length, c10::Device device) {
    const int64_t available = device.is_cpu() && !at::in_parallel_region() ? at::get_num_threads() : 1;
    const int64_t most = RowsInWork(available) / available;
    threads = std::min(available, DivideUp(length, most));
    rows = DivideUp(length, DivideUp(DivideUp(length, most), threads) * threads);  // as many for each thread
    count = DivideUp(length, rows);
  }
};

// What is added to the scores of one sequence.
class SequenceMask {
 public:
  // `mask` is broadcastable to [B, H, S, S]; `sequence` selects its batch. `dtype` is that of the scores.
  SequenceMask(const std::optional<at::Tensor>& mask, int64_t sequence, at::ScalarType dtype)
      : dtype_(dtype) {
    if (!mask.has_value()) return;
    own_ = *mask;
    while (own_.dim() < 4) own_ = own_.unsqueeze(0);
    own_ = own_.select(0, own_.size(0) == 1 ? 0 : sequence);  // [1 or H, 1 or S, 1 or S]
    if (own_.size(1) == 1) own_ = Added(own_);                // the same for every block
  }

  // Rows [first, first + n), broadcastable to [H, n, S]; undefined if nothing is added.
  at::Tensor Rows(int64_t first, int64_t n) const {
    if (!own_.defined() || own_.size(1) == 1) return own_;
    return Added(own_.narrow(1, first, n));
  }

 private:
  at::Tensor Added(const at::Tensor& mask) const {
    if (mask.scalar_type() != at::kBool) return mask.to(dtype_);
    return at::zeros(mask.sizes(), mask.options().dtype(dtype_))
        .masked_fill_(mask.logical_not(), kMinusInfinity);
  }

  at::ScalarType dtype_;
  at::Tensor own_;
};

// Softmax of any dtype and device. It makes NaN of a row that the mask leaves empty; ATen's attention makes
// it 0. Other NaNs are the model's and stay.
void DeviceSoftmax(at::Tensor& scores, at::Tensor mask_rows, int64_t causal_row) {
  if (causal_row != kNotCausal) {
    const at::Tensor later =
        at::full({1, scores.size(1), scores.size(2)}, kMinusInfinity, scores.options()).triu_(causal_row + 1);
    mask_rows = mask_rows.defined() ? mask_rows + later : later;
  }
  if (mask_rows.defined()) scores.add_(mask_rows);
  at::_softmax_out(scores, scores, -1, /*half_to_float=*/false);
  if (mask_rows.defined()) {
    scores.masked_fill_(mask_rows.amax(-1, /*keepdim=*/true).eq(kMinusInfinity), 0);
  }
}

// Replaces scores [H, n, S] by probabilities. `causal_row`: number of the first row, or kNotCausal.
void MaskedSoftmax(at::Tensor& scores, const at::Tensor& mask_rows, int64_t causal_row) {
  if (!scores.device().is_cpu() || scores.scalar_type() != at::kFloat) {
    return DeviceSoftmax(scores, mask_rows, causal_row);
  }
  AddedMask mask;
  at::Tensor expanded;  // a view, but for masks whose columns are not next to each other
  if (mask_rows.defined()) {
    expanded = mask_rows.expand_as(scores);
    if (expanded.stride(2) != 1) expanded = expanded.contiguous();
    mask = {expanded.const_data_ptr<float>(), expanded.stride(0), expanded.stride(1)};
  }
  SoftmaxInPlace({scores.mutable_data_ptr<float>(), scores.size(0), scores.size(1), scores.size(2)}, mask,
                 causal_row);
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
  const Blocks blocks(length, query.device());
  const at::Tensor scratch =
      at::empty({blocks.threads, heads * blocks.rows * length}, query.options().dtype(dtype));
  for (int64_t sequence = 0; sequence < batch; ++sequence) {
    const at::Tensor queries = query.select(0, sequence).to(dtype);
    const at::Tensor keys = HeadsOf(inputs.key, sequence, heads).to(dtype).transpose(1, 2);  // [H, D, S]
    const at::Tensor values = HeadsOf(inputs.value, sequence, heads).to(dtype);
    const SequenceMask mask(inputs.mask, sequence, dtype);

    const auto compute_block = [&](int64_t index, const at::Tensor& memory) {
      const int64_t first = index * blocks.rows;
      const int64_t n = std::min(blocks.rows, length - first);
      at::Tensor block = memory.narrow(0, 0, heads * n * length).view({heads, n, length});
      at::baddbmm_out(block, block, queries.narrow(1, first, n), keys, /*beta=*/0, /*alpha=*/scale);
      MaskedSoftmax(block, mask.Rows(first, n), inputs.is_causal ? first : kNotCausal);
      observer.AddRows(sequence, first, block);
      if (!needs_output) return;
      at::Tensor output_block = output.select(0, sequence).narrow(1, first, n);
      if (half) {
        output_block.copy_(at::bmm(block, values));
      } else {
        at::bmm_out(output_block, block, values);
      }
    };
    const at::ThreadLocalState state;  // inference mode, and who counts the memory
    at::parallel_for(
        0, blocks.count, DivideUp(blocks.count, blocks.threads), [&](int64_t begin, int64_t end) {
          const at::ThreadLocalStateGuard guard(state);
          const memory::AttentionScope thread_scope;
          const at::Tensor memory = scratch.select(0, blocks.threads == 1 ? 0 : at::get_thread_num());
          for (int64_t index = begin; index < end; ++index) compute_block(index, memory);
        });
    observer.EndSequence(sequence);
  }
  return output;
}

}  // namespace attribution::capture
