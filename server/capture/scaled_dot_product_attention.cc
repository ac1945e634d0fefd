#include "server/capture/scaled_dot_product_attention.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "server/capture/blocked_attention.h"
#include "server/capture/masked_softmax.h"
#include "server/capture/needed_columns.h"

namespace attribution::capture {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// What is added to the scores of one sequence. The mask is broadcast, never expanded.
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

  // Rows [first, first + n) in the first `columns` columns, broadcastable to [H, n, columns]; undefined if
  // nothing is added.
  at::Tensor Rows(int64_t first, int64_t n, int64_t columns) const {
    if (!own_.defined()) return own_;
    const at::Tensor cut = own_.size(2) == 1 ? own_ : own_.narrow(2, 0, columns);
    return cut.size(1) == 1 ? cut : Added(cut.narrow(1, first, n));
  }

  // Columns that rows [first, first + n) of `length` need.
  int64_t Columns(int64_t first, int64_t n, int64_t length) const {
    if (!own_.defined()) return length;
    const auto kind = own_.scalar_type() == at::kBool ? ScoreMask::Kind::kKeepsTrue : ScoreMask::Kind::kAdded;
    return NeededColumns({{kind, own_}}, first, n, length);
  }

  // The cells [n, length] of those rows that are visible in some head.
  at::Tensor Visible(int64_t first, int64_t n, int64_t length, const at::TensorOptions& options) const {
    if (!own_.defined()) return VisibleCells({}, first, n, length, options);
    const auto kind = own_.scalar_type() == at::kBool ? ScoreMask::Kind::kKeepsTrue : ScoreMask::Kind::kAdded;
    return VisibleCells({{kind, own_}}, first, n, length, options);
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

}  // namespace

std::optional<AttentionInputs> HeadsApart(const AttentionInputs& inputs, int64_t heads) {
  const int64_t rank = inputs.query.dim();
  if ((rank != 3 && rank != 4) || inputs.key.dim() != rank || inputs.value.dim() != rank ||
      inputs.query.size(-2) != inputs.key.size(-2) || inputs.query.size(0) != inputs.key.size(0)) {
    return std::nullopt;
  }
  if (rank == 4) return inputs;
  const int64_t groups = inputs.query.size(0);
  if (groups % heads != 0 || inputs.value.size(0) != groups) return std::nullopt;
  AttentionInputs apart = inputs;
  for (at::Tensor* tensor : {&apart.query, &apart.key, &apart.value}) {
    *tensor = tensor->unflatten(0, {-1, heads});
  }
  if (!inputs.mask.has_value() || inputs.mask->dim() < 3) return apart;
  if (inputs.mask->dim() != 3) return std::nullopt;
  apart.mask = inputs.mask->size(0) == 1 ? inputs.mask->unsqueeze(0) : inputs.mask->unflatten(0, {-1, heads});
  return apart;
}

std::vector<int64_t> ProbabilitySizes(const AttentionInputs& inputs) {
  std::vector<int64_t> sizes = inputs.query.sizes().vec();
  if (!sizes.empty()) sizes.back() = inputs.key.dim() < 2 ? 1 : inputs.key.size(-2);
  return sizes;
}

LayerShape ShapeOf(const AttentionInputs& inputs, int32_t site) {
  return {site, inputs.query.size(0), inputs.query.size(1), inputs.query.size(2), /*in_blocks=*/true};
}

at::Tensor PlainAttention(const AttentionInputs& inputs) {
  return at::scaled_dot_product_attention(inputs.query, inputs.key, inputs.value, inputs.mask, inputs.dropout,
                                          inputs.is_causal, inputs.scale, inputs.enable_gqa);
}

at::Tensor BlockedAttention(const AttentionInputs& inputs, bool needs_output, AttentionObserver& observer) {
  const at::Tensor& query = inputs.query;
  const double scale = inputs.scale.value_or(1.0 / std::sqrt(static_cast<double>(query.size(3))));
  // What is_causal hides is minus infinity, so it is 0 even in a row that the mask leaves empty.
  const auto softmax_of = [&](int64_t sequence) -> SequenceSoftmax {
    const SequenceMask mask(inputs.mask, sequence, ComputeType(query.scalar_type()));
    const bool causal = inputs.is_causal;
    return {
        [mask, causal](int64_t first_row, at::Tensor& scores) {
          MaskedSoftmax(scores, mask.Rows(first_row, scores.size(1), scores.size(2)),
                        causal ? first_row : kNotCausal, HiddenRows::kZero);
        },
        [mask, causal, length = query.size(2)](int64_t first_row, int64_t rows) {
          return causal ? first_row + rows : mask.Columns(first_row, rows, length);
        },
        [mask, causal, length = query.size(2), options = query.options()](int64_t first_row, int64_t rows) {
          at::Tensor visible = mask.Visible(first_row, rows, length, options);
          return causal ? visible.tril_(first_row) : visible;
        }};
  };
  at::Tensor output;  // in the layout that ATen's has on the CPU, and that models read next
  if (needs_output) {
    output = at::empty({query.size(0), query.size(2), query.size(1), inputs.value.size(3)}, query.options())
                 .transpose(1, 2);
  }
  ComputeInBlocks({query, inputs.key.transpose(2, 3), inputs.value, scale}, softmax_of, output, &observer);
  return output;
}

}  // namespace attribution::capture
