// UniformRollout is the rollout of attention that is uniform over the cells which each layer lets a row see:
// what the shape of the masks alone brings about. In float64, by the same preset and options as the rollout
// beside it.
//
// A cell may be seen if it is valid and not 0 in every head. Holds R [n, n] float64 and what the current
// layer shows, [n, n] bool. AddRows() may be called by several threads at once for different rows; all else
// comes from one thread at a time.
#ifndef SERVER_ROLLOUT_UNIFORM_ROLLOUT_H_
#define SERVER_ROLLOUT_UNIFORM_ROLLOUT_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "attribution/options.h"
#include "server/rollout/valid_positions.h"

namespace attribution::rollout {

class UniformRollout {
 public:
  // R lives on the device of `tensor_options`.
  UniformRollout(const ResolvedOptions& options, ValidPositions valid,
                 const at::TensorOptions& tensor_options);

  // Notes what rows [first_row, first_row + rows) see: `visible` bool [rows, C], C <= n, and nothing from C
  // on.
  void AddVisible(int64_t first_row, const at::Tensor& visible);

  // The same told by `probabilities` [H, rows, C] of every head: what is above 0 in one of them.
  void AddRows(int64_t first_row, const at::Tensor& probabilities);

  // Makes the layer part of R. Where every row sees the valid positions up to some last one, as under causal
  // masks and without masks, this takes n² work and temporaries of some columns; else, and where the preset
  // does not fold row by row, n³ work and about 21 n² bytes. REQUIRES: every row of the layer was added.
  void EndLayer();

  // [n, n] float64, 0 at invalid positions. REQUIRES: a layer was added.
  const at::Tensor& rollout() const { return rollout_; }

  // Bytes of the tensors held.
  int64_t bytes() const { return static_cast<int64_t>(rollout_.nbytes() + seen_.nbytes()); }

 private:
  bool MultiplyPrefixes();
  void MultiplyMatrix();

  const ResolvedOptions options_;
  const ValidPositions valid_;
  at::Tensor seen_;     // by the current layer
  at::Tensor rollout_;  // R; before the first layer the identity of the valid positions
  bool first_layer_ = true;
};

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_UNIFORM_ROLLOUT_H_
