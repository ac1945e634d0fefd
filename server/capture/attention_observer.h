// AttentionObserver receives a model's attention while the model runs, a block of rows at a time.
//
// Called in order of execution: BeginLayer; for each sequence in order its AddRows, then EndSequence;
// EndLayer; then the next layer. All but AddRows come on the thread that runs the model. AddRows brings every
// row of the sequence once, in blocks of any order and from several threads at once. Implementations must not
// keep the tensors they are given.
#ifndef SERVER_CAPTURE_ATTENTION_OBSERVER_H_
#define SERVER_CAPTURE_ATTENTION_OBSERVER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace attribution::capture {

// One execution of an attention site.
struct LayerShape {
  int32_t site = 0;        // index into ModelDescription::sites
  int64_t batch = 0;       // B
  int64_t heads = 0;       // H
  int64_t length = 0;      // S, the padded length of the chunk
  bool in_blocks = false;  // the rows come as they are computed; else the whole [B, H, S, S] exists
  bool folded = false;     // the model has batch and heads in one dimension
};

class AttentionObserver {
 public:
  virtual ~AttentionObserver() = default;

  // A site ran, but what it computed is not attention over whole sequences: probabilities of `sizes`.
  virtual void OtherShape(int32_t /*site*/, at::IntArrayRef /*sizes*/) {}

  // Returns whether the rows of this layer are wanted. If not, nothing more is called for it.
  virtual bool BeginLayer(const LayerShape& shape) = 0;

  // Whether the forward pass is to stop here. Asked when BeginLayer has returned false.
  virtual bool IsOver() const { return false; }

  // Whether every block must have all its S columns, computed like the others, though they are known to be 0.
  virtual bool NeedsWholeRows() const { return false; }

  // Whether AddVisible is to be called.
  virtual bool WantsVisible() const { return false; }

  // Comes before AddRows of the same rows, on the same thread, where the masks of a layer are known: bool
  // [n, S], the cells that they leave visible in some head. Never for a layer of which only probabilities are
  // seen.
  virtual void AddVisible(int64_t /*sequence*/, int64_t /*first_row*/, const at::Tensor& /*visible*/) {}

  // Rows [first_row, first_row + n) of `sequence`: probabilities [H, n, C], C <= S, in the model's dtype.
  // From column C on they are exactly 0. Read only, and valid during the call only: it may be a view of what
  // the model goes on with.
  virtual void AddRows(int64_t sequence, int64_t first_row, const at::Tensor& probabilities) = 0;

  // Every row of `sequence` was given.
  virtual void EndSequence(int64_t sequence) = 0;

  // Every sequence of the layer was given. Returns false to stop the forward pass here.
  virtual bool EndLayer() = 0;
};

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_ATTENTION_OBSERVER_H_
