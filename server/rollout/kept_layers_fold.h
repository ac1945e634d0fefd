// KeptLayersFold keeps A of every layer and multiplies the chosen rows down the stack at the end:
// rows ← rows · Ã_l for l = last, …, first.
//
// For presets whose later layer stands on the left. Holds a matrix [n, n] a layer, but no R: n² work a layer
// and row instead of n³ a layer. Threading is that of LayerFold.
#ifndef SERVER_ROLLOUT_KEPT_LAYERS_FOLD_H_
#define SERVER_ROLLOUT_KEPT_LAYERS_FOLD_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "attribution/options.h"
#include "server/rollout/layer_fold.h"
#include "server/rollout/residual.h"
#include "server/rollout/row_selection.h"
#include "server/rollout/valid_positions.h"

namespace attribution::rollout {

class KeptLayersFold final : public LayerFold {
 public:
  // The rollout will be that of rows `rows`. Layers are kept on the device of `tensor_options`.
  KeptLayersFold(const ResolvedOptions& options, ValidPositions valid, std::vector<RowRun> rows,
                 const at::TensorOptions& tensor_options);

  void BeginLayer() override;
  void AddBlock(int64_t first_row, const at::Tensor& row_sums, at::Tensor& block,
                const at::Tensor& spare) override;
  void EndLayer(const at::Tensor& row_sums, at::Tensor& spare) override;

  // Goes down the stack: the work of the rows is done here.
  at::Tensor rollout() const override;
  int64_t bytes() const override;

 private:
  struct Layer {
    at::Tensor cells;     // A, or what discarding left of it
    at::Tensor row_sums;  // of cells
  };

  const Normalization normalization_;
  const double residual_;
  const double discard_ratio_;
  const ValidPositions valid_;
  const std::vector<RowRun> rows_;
  const at::TensorOptions tensor_options_;
  std::vector<Layer> layers_;
};

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_KEPT_LAYERS_FOLD_H_
