#include "server/rollout/whole_layer_fold.h"

#include <ATen/ATen.h>

#include <utility>

#include "server/rollout/discard.h"
#include "server/rollout/layer_product.h"
#include "server/rollout/residual.h"

namespace attribution::rollout {

WholeLayerFold::WholeLayerFold(const ResolvedOptions& options, ValidPositions valid,
                               const at::TensorOptions& tensor_options)
    : rules_(RulesOf(options.preset)),
      residual_(options.residual_weight),
      discard_ratio_(options.discard_ratio),
      valid_(std::move(valid)),
      rollout_(at::empty({valid_.length(), valid_.length()}, tensor_options.dtype(at::kFloat))),
      rollout_ends_(valid_.length()),
      layer_ends_(valid_.length()) {}

void WholeLayerFold::AddBlock(int64_t first_row, const at::Tensor& /*row_sums*/, at::Tensor& block,
                              const at::Tensor& spare) {
  const int64_t length = valid_.length();
  const int64_t columns = block.size(1);
  const at::Tensor rows = AsMatrix(spare, length).narrow(0, first_row, block.size(0));
  rows.narrow(1, 0, columns).copy_(block);
  rows.narrow(1, columns, length - columns).zero_();
  layer_ends_.Set(first_row, block.size(0), columns);
}

// Leaves Ã in the spare, or what was left of A.
void WholeLayerFold::EndLayer(const at::Tensor& row_sums, at::Tensor& spare) {
  const bool first_layer = std::exchange(first_layer_, false);
  at::Tensor layer = AsMatrix(spare, valid_.length());
  if (discard_ratio_ > 0) DiscardSmallest(discard_ratio_, valid_, layer);
  if (!(first_layer && rules_.first_layer_raw)) {
    AddResidual(rules_.normalization, residual_, valid_, /*first_row=*/0,
                discard_ratio_ > 0 ? layer.sum(1) : row_sums, layer);
  }
  if (first_layer) {
    rollout_.copy_(layer);
    rollout_ends_ = layer_ends_;
  } else if (rules_.later_layer_on_the_right) {
    MultiplyFromTheRight(layer, layer_ends_, rollout_, rollout_ends_);
  } else {
    MultiplyFromTheLeft(layer, rollout_);
  }
}

}  // namespace attribution::rollout
