// WholeLayerFold gathers all of A in the spare, makes it Ã in place and multiplies it into R.
//
// For every preset, discarding included. Holds R [n, n]. Threading is that of LayerFold.
#ifndef SERVER_ROLLOUT_WHOLE_LAYER_FOLD_H_
#define SERVER_ROLLOUT_WHOLE_LAYER_FOLD_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "attribution/options.h"
#include "server/rollout/fold_rules.h"
#include "server/rollout/layer_fold.h"
#include "server/rollout/row_ends.h"
#include "server/rollout/valid_positions.h"

namespace attribution::rollout {

class WholeLayerFold final : public LayerFold {
 public:
  // R lives on the device of `tensor_options`.
  WholeLayerFold(const ResolvedOptions& options, ValidPositions valid,
                 const at::TensorOptions& tensor_options);

  void AddBlock(int64_t first_row, const at::Tensor& row_sums, at::Tensor& block,
                const at::Tensor& spare) override;
  void EndLayer(const at::Tensor& row_sums, at::Tensor& spare) override;
  at::Tensor rollout() const override { return rollout_; }
  int64_t bytes() const override { return static_cast<int64_t>(rollout_.nbytes()); }

 private:
  const FoldRules rules_;
  const double residual_;
  const double discard_ratio_;
  const ValidPositions valid_;
  at::Tensor rollout_;  // R
  RowEnds rollout_ends_;
  RowEnds layer_ends_;
  bool first_layer_ = true;
};

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_WHOLE_LAYER_FOLD_H_
