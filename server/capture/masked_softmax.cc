#include "server/capture/masked_softmax.h"

#include <ATen/ATen.h>

#include <limits>

namespace attribution::capture {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// Softmax of any dtype and device. ATen's makes NaN of a row of which nothing is left.
void DeviceSoftmax(at::Tensor& scores, at::Tensor mask, int64_t causal_row, HiddenRows hidden_rows) {
  if (causal_row != kNotCausal) {
    const at::Tensor later =
        at::full({1, scores.size(1), scores.size(2)}, kMinusInfinity, scores.options()).triu_(causal_row + 1);
    mask = mask.defined() ? mask + later : later;
  }
  if (mask.defined()) scores.add_(mask);
  at::_softmax_out(scores, scores, -1, /*half_to_float=*/false);
  if (mask.defined() && hidden_rows == HiddenRows::kZero) {
    scores.masked_fill_(mask.amax(-1, /*keepdim=*/true).eq(kMinusInfinity), 0);
  }
}

}  // namespace

void MaskedSoftmax(at::Tensor& scores, const at::Tensor& mask, int64_t causal_row, HiddenRows hidden_rows) {
  if (!scores.device().is_cpu() || scores.scalar_type() != at::kFloat) {
    return DeviceSoftmax(scores, mask, causal_row, hidden_rows);
  }
  AddedMask added;
  at::Tensor expanded;  // a view, but for masks whose columns are not next to each other
  if (mask.defined()) {
    expanded = mask.expand_as(scores);
    if (expanded.stride(2) != 1) expanded = expanded.contiguous();
    added = {expanded.const_data_ptr<float>(), expanded.stride(0), expanded.stride(1)};
  }
  SoftmaxInPlace({scores.mutable_data_ptr<float>(), scores.size(0), scores.size(1), scores.size(2)}, added,
                 causal_row, hidden_rows);
}

}  // namespace attribution::capture
