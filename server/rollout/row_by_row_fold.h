// RowByRowFold multiplies a layer into R a block of rows at a time: spare[rows, :] = Ã[rows, :] · R. At the
// end of the layer the spare becomes R. What a causal mask leaves 0 in Ã and R is not multiplied.
//
// For presets of which FoldsRowByRow() holds. Holds R [n, n]. Threading is that of LayerFold.
#ifndef SERVER_ROLLOUT_ROW_BY_ROW_FOLD_H_
#define SERVER_ROLLOUT_ROW_BY_ROW_FOLD_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "server/rollout/layer_fold.h"
#include "server/rollout/row_ends.h"
#include "server/rollout/valid_positions.h"

namespace attribution::rollout {

class RowByRowFold final : public LayerFold {
 public:
  // `residual` is ρ. R lives on the device of `tensor_options`.
  RowByRowFold(double residual, ValidPositions valid, const at::TensorOptions& tensor_options);

  void AddBlock(int64_t first_row, const at::Tensor& row_sums, at::Tensor& block,
                const at::Tensor& spare) override;
  void EndLayer(const at::Tensor& row_sums, at::Tensor& spare) override;
  at::Tensor rollout() const override;
  int64_t bytes() const override { return static_cast<int64_t>(cells_.nbytes()); }

 private:
  const double residual_;
  const ValidPositions valid_;
  at::Tensor cells_;   // R, flat, n * n
  RowEnds ends_;       // of R
  RowEnds next_ends_;  // of what is R next
  bool first_layer_ = true;
};

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_ROW_BY_ROW_FOLD_H_
