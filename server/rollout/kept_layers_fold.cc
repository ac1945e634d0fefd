#include "server/rollout/kept_layers_fold.h"

#include <ATen/ATen.h>

#include <utility>

#include "server/rollout/discard.h"
#include "server/rollout/fold_rules.h"
#include "server/rollout/row_vectors.h"

namespace attribution::rollout {

KeptLayersFold::KeptLayersFold(const ResolvedOptions& options, ValidPositions valid, std::vector<RowRun> rows,
                               const at::TensorOptions& tensor_options)
    : normalization_(RulesOf(options.preset).normalization),
      residual_(options.residual_weight),
      discard_ratio_(options.discard_ratio),
      valid_(std::move(valid)),
      rows_(std::move(rows)),
      tensor_options_(tensor_options.dtype(at::kFloat)) {}

void KeptLayersFold::BeginLayer() {
  layers_.push_back({at::empty({valid_.length(), valid_.length()}, tensor_options_), {}});
}

void KeptLayersFold::AddBlock(int64_t first_row, const at::Tensor& /*row_sums*/, at::Tensor& block,
                              const at::Tensor& /*spare*/) {
  const int64_t columns = block.size(1);
  at::Tensor rows = layers_.back().cells.narrow(0, first_row, block.size(0));
  rows.narrow(1, 0, columns).copy_(block);
  rows.narrow(1, columns, rows.size(1) - columns).zero_();
}

void KeptLayersFold::EndLayer(const at::Tensor& row_sums, at::Tensor& /*spare*/) {
  Layer& layer = layers_.back();
  if (discard_ratio_ > 0) DiscardSmallest(discard_ratio_, valid_, layer.cells);
  layer.row_sums = discard_ratio_ > 0 ? layer.cells.sum(1) : row_sums.clone();
}

at::Tensor KeptLayersFold::rollout() const {
  at::Tensor rows = UnitRows(rows_, valid_.length(), tensor_options_);
  for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
    rows = RowsTimesLayer(normalization_, residual_, valid_, rows, layer->row_sums, layer->cells);
  }
  return rows;
}

int64_t KeptLayersFold::bytes() const {
  size_t bytes = 0;
  for (const Layer& layer : layers_) {
    bytes += layer.cells.nbytes() + (layer.row_sums.defined() ? layer.row_sums.nbytes() : 0);
  }
  return static_cast<int64_t>(bytes);
}

}  // namespace attribution::rollout
