// Uniform attention A has 1 / c_i in the c_i cells that row i sees. If those are the first c_i valid ones,
//
//   (A · R)[i] = (1 / c_i) · (R[0] + … + R[last_i])
//
// is a running sum of rows of R, whose invalid ones are 0. Nothing is subtracted, so that small cells, which
// are divided by later, keep all their digits.
#include "server/rollout/uniform_rollout.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "server/rollout/discard.h"
#include "server/rollout/fold_rules.h"
#include "server/rollout/residual.h"

namespace attribution::rollout {
namespace {

constexpr int64_t kStrip = 64;  // columns summed at a time
constexpr double kSmallestRowSum = 1e-10;

}  // namespace

UniformRollout::UniformRollout(const ResolvedOptions& options, ValidPositions valid,
                               const at::TensorOptions& tensor_options)
    : options_(options),
      valid_(std::move(valid)),
      seen_(at::zeros({valid_.length(), valid_.length()}, tensor_options.dtype(at::kBool))),
      rollout_(at::eye(valid_.length(), tensor_options.dtype(at::kDouble))) {
  if (!valid_.all()) rollout_.diagonal().copy_(valid_.indicator());
}

// NaN is not above 0: a masked row that holds it sees nothing.
void UniformRollout::AddRows(int64_t first_row, const at::Tensor& probabilities) {
  AddVisible(first_row, probabilities.gt(0).any(0));
}

void UniformRollout::AddVisible(int64_t first_row, const at::Tensor& visible) {
  const int64_t columns = visible.size(1);
  const at::Tensor rows = seen_.narrow(0, first_row, visible.size(0));
  at::Tensor seen = rows.narrow(1, 0, columns);
  seen.copy_(visible);
  rows.narrow(1, columns, seen_.size(1) - columns).fill_(false);
  valid_.ClearInvalid(first_row, seen);
}

void UniformRollout::EndLayer() {
  if (!FoldsRowByRow(options_) || !MultiplyPrefixes()) MultiplyMatrix();
  first_layer_ = false;
}

// Returns false, and does nothing, if a row sees other cells than the first valid ones.
bool UniformRollout::MultiplyPrefixes() {
  if (!seen_.device().is_cpu()) return false;
  const int64_t length = valid_.length();
  at::Tensor last = at::zeros({length}, at::kLong);
  at::Tensor of_sum = at::zeros({length, 1}, at::kDouble);
  at::Tensor of_itself = at::zeros({length, 1}, at::kDouble);
  const double residual = options_.residual_weight;
  std::vector<int64_t> valid_before(length + 1, 0);
  for (int64_t i = 0; i < length; ++i) valid_before[i + 1] = valid_before[i] + (valid_.IsValid(i) ? 1 : 0);
  for (int64_t i = 0; i < length; ++i) {
    const bool* row = seen_.const_data_ptr<bool>() + i * length;
    int64_t end = length;
    while (end > 0 && !row[end - 1]) --end;
    const int64_t count = std::count(row, row + end, true);
    if (count != valid_before[end]) return false;
    const double identity = valid_.IsValid(i) ? residual : 0;
    const double attention = count > 0 ? 1 - residual : 0;
    const double sum = std::max(attention + identity, kSmallestRowSum);
    last.mutable_data_ptr<int64_t>()[i] = std::max<int64_t>(end - 1, 0);
    of_sum.mutable_data_ptr<double>()[i] = count > 0 ? attention / sum / static_cast<double>(count) : 0;
    of_itself.mutable_data_ptr<double>()[i] = identity / sum;
  }
  for (at::Tensor& columns : rollout_.split(kStrip, /*dim=*/1)) {
    const at::Tensor sums = columns.cumsum(0).index_select(0, last);
    columns.mul_(of_itself).addcmul_(sums, of_sum);
  }
  return true;
}

void UniformRollout::MultiplyMatrix() {
  const FoldRules rules = RulesOf(options_.preset);
  at::Tensor layer = seen_.to(at::kDouble);
  layer.div_(layer.sum(1, /*keepdim=*/true).clamp_min_(1));
  if (options_.discard_ratio > 0) {
    at::Tensor cells = layer.to(at::kFloat);
    DiscardSmallest(options_.discard_ratio, valid_, cells);
    layer.masked_fill_(cells.eq(0), 0);
  }
  if (!(first_layer_ && rules.first_layer_raw)) {
    AddResidual(rules.normalization, options_.residual_weight, valid_, /*first_row=*/0, layer.sum(1), layer);
  }
  if (first_layer_) {
    rollout_ = layer;
  } else {
    rollout_ = rules.later_layer_on_the_right ? at::mm(rollout_, layer) : at::mm(layer, rollout_);
  }
}

}  // namespace attribution::rollout
