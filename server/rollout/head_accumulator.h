// HeadAccumulator fuses the heads of one sequence while they arrive one after the other.
//
// Holds one matrix whatever the number of heads: sums up for the mean, keeps the larger or smaller cell, or
// takes one head alone. Not thread-safe.
#ifndef SERVER_ROLLOUT_HEAD_ACCUMULATOR_H_
#define SERVER_ROLLOUT_HEAD_ACCUMULATOR_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "attribution/options.h"

namespace attribution::rollout {

class HeadAccumulator {
 public:
  // For `heads` heads of [length, length], on the device of `tensor_options`. REQUIRES: head is empty or in
  // [0, heads).
  HeadAccumulator(int64_t heads, int64_t length, HeadFusion fusion, std::optional<int32_t> head,
                  const at::TensorOptions& tensor_options);

  // Whether cells of `head` matter.
  bool Uses(int64_t head) const { return !head_.has_value() || *head_ == head; }

  // Takes cells [first_cell, first_cell + n) of `head`, row by row: `cells` [n] float32, any device. NaN
  // stays NaN. REQUIRES: Uses(head); heads come in order, every cell once; head 0 or the one used begins
  // anew.
  void Add(int64_t head, int64_t first_cell, const at::Tensor& cells);

  // Returns the fused matrix [length, length] float32, valid until the next Add(). REQUIRES: every cell came.
  at::Tensor Finish();

  int64_t bytes() const { return static_cast<int64_t>(cells_.nbytes()); }

 private:
  const int64_t heads_;
  const int64_t length_;
  const HeadFusion fusion_;
  const std::optional<int32_t> head_;
  at::Tensor cells_;  // flat
};

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_HEAD_ACCUMULATOR_H_
