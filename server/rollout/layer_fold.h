// LayerFold is what a way of computing the rollout does with the attention A of the layers that are folded.
//
// Belongs to a SequenceFold, which has cut, fused, cleared and measured what arrives here. The blocks of a
// layer may come in any order and from several threads at once; all else comes from one thread at a time.
#ifndef SERVER_ROLLOUT_LAYER_FOLD_H_
#define SERVER_ROLLOUT_LAYER_FOLD_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace attribution::rollout {

class LayerFold {
 public:
  virtual ~LayerFold() = default;

  // Starts the next layer that is folded.
  virtual void BeginLayer() {}

  // Takes rows [first_row, first_row + rows) of A: `block` [rows, C] float32, 0 in invalid rows and columns,
  // and their sums, `row_sums` [rows]. From column C on the rows are 0; first_row + rows <= C <= n. May
  // change the block. `spare` is that of SequenceFold::AddRows().
  virtual void AddBlock(int64_t first_row, const at::Tensor& row_sums, at::Tensor& block,
                        const at::Tensor& spare) = 0;

  // Makes the layer, whose row sums are `row_sums` [n], part of the rollout. May swap `spare` with a buffer
  // of its own if both have the same size. REQUIRES: every row of the layer was added.
  virtual void EndLayer(const at::Tensor& row_sums, at::Tensor& spare) = 0;

  // Returns the rollout of the layers so far: [n, n], or the rows alone for which the fold was made, [k, n].
  // Valid until the next EndLayer(). REQUIRES: there was one.
  virtual at::Tensor rollout() const = 0;

  // Bytes of the tensors held.
  virtual int64_t bytes() const = 0;
};

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_LAYER_FOLD_H_
