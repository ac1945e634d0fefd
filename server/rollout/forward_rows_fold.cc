#include "server/rollout/forward_rows_fold.h"

#include <ATen/ATen.h>

#include <utility>

#include "server/rollout/fold_rules.h"
#include "server/rollout/residual.h"
#include "server/rollout/row_vectors.h"

namespace attribution::rollout {

ForwardRowsFold::ForwardRowsFold(const ResolvedOptions& options, ValidPositions valid,
                                 const std::vector<RowRun>& rows, const at::TensorOptions& tensor_options)
    : first_layer_raw_(RulesOf(options.preset).first_layer_raw),
      residual_(options.residual_weight),
      valid_(std::move(valid)),
      rows_(UnitRows(rows, valid_.length(), tensor_options)) {}

// A row of Ã needs its own row of A only, so a block is Ã as soon as it is there.
void ForwardRowsFold::AddBlock(int64_t first_row, const at::Tensor& row_sums, at::Tensor& block,
                               const at::Tensor& /*spare*/) {
  if (!IsRaw()) AddResidual(Normalization::kRows, residual_, valid_, first_row, row_sums, block);
  at::Tensor product = at::mm(rows_.narrow(1, first_row, block.size(0)), block);
  const std::lock_guard lock(mutex_);
  products_.emplace(first_row, std::move(product));
}

void ForwardRowsFold::EndLayer(const at::Tensor& /*row_sums*/, at::Tensor& /*spare*/) {
  first_layer_ = false;
  rows_.zero_();
  for (const auto& [first_row, product] : products_) rows_.narrow(1, 0, product.size(1)).add_(product);
  products_.clear();
}

}  // namespace attribution::rollout
