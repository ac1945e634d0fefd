// ForwardRowsFold takes chosen rows forward through the layers: rows ← rows · Ã_l, a block of A at a time.
//
// For presets whose later layer stands on the right, without discarding. Holds row vectors only: the rows,
// and while a layer is there what each of its blocks adds to them. Those are summed in the order of the
// blocks, so that it does not show which thread was first. Threading is that of LayerFold.
#ifndef SERVER_ROLLOUT_FORWARD_ROWS_FOLD_H_
#define SERVER_ROLLOUT_FORWARD_ROWS_FOLD_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "attribution/options.h"
#include "server/rollout/layer_fold.h"
#include "server/rollout/row_selection.h"
#include "server/rollout/valid_positions.h"

namespace attribution::rollout {

class ForwardRowsFold final : public LayerFold {
 public:
  // The rollout will be that of rows `rows`, on the device of `tensor_options`.
  ForwardRowsFold(const ResolvedOptions& options, ValidPositions valid, const std::vector<RowRun>& rows,
                  const at::TensorOptions& tensor_options);

  void AddBlock(int64_t first_row, const at::Tensor& row_sums, at::Tensor& block,
                const at::Tensor& spare) override;
  void EndLayer(const at::Tensor& row_sums, at::Tensor& spare) override;
  at::Tensor rollout() const override { return rows_; }
  int64_t bytes() const override { return static_cast<int64_t>(rows_.nbytes()); }

 private:
  // The layer in work is multiplied as it is, without residual and normalisation.
  bool IsRaw() const { return first_layer_ && first_layer_raw_; }

  const bool first_layer_raw_;
  const double residual_;
  const ValidPositions valid_;
  at::Tensor rows_;  // [k, n]
  bool first_layer_ = true;
  std::mutex mutex_;
  std::map<int64_t, at::Tensor> products_;  // [k, n] of each block, by its first row; guarded by mutex_
};

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_FORWARD_ROWS_FOLD_H_
