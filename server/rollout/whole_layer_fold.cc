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
      rollout_(at::empty({valid_.length(), valid_.length()}, tensor_options.dtype(at::kFloat))) {}

void WholeLayerFold::AddBlock(int64_t first_row, const at::Tensor& /*row_sums*/, at::Tensor& block,
                              const at::Tensor& spare) {
  AsMatrix(spare, valid_.length()).narrow(0, first_row, block.size(0)).copy_(block);
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
  } else if (rules_.later_layer_on_the_right) {
    MultiplyFromTheRight(layer, rollout_);
  } else {
    MultiplyFromTheLeft(layer, rollout_);
  }
}

}  // namespace attribution::rollout
