// ValidPositions says which positions of one sequence count, and clears the others out of attention.
//
// Validity comes from the mask alone: left padding, right padding and gaps are all the same here. With
// include_padding every position counts, and the mask says only whose rows may be NaN.
// Immutable after construction; any thread.
#ifndef SERVER_ROLLOUT_VALID_POSITIONS_H_
#define SERVER_ROLLOUT_VALID_POSITIONS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace attribution::rollout {

class ValidPositions {
 public:
  // `mask` holds 0 or 1 for each of `length` positions; empty: all are valid. Tensors live on the device of
  // `options`. REQUIRES: mask is empty or holds `length` values.
  ValidPositions(const std::vector<int32_t>& mask, int64_t length, const at::TensorOptions& options);

  // Every position counts, masked ones too. Arguments as above.
  static ValidPositions Everywhere(const std::vector<int32_t>& mask, int64_t length,
                                   const at::TensorOptions& options);

  int64_t length() const { return length_; }
  int64_t count() const { return count_; }  // n_b, the number of valid positions
  bool all() const { return count_ == length_; }
  int64_t first() const { return first_; }  // the first valid position
  bool IsValid(int64_t position) const { return mask_.empty() || mask_[position] != 0; }

  // Writes 0 into invalid rows and columns of `block`, rows [first_row, first_row + rows) of a matrix, shape
  // [rows, columns], columns <= length. Fills rather than multiplies: 0 times NaN would stay NaN. Of
  // Everywhere(): writes 0 into masked rows that hold NaN, and leaves other rows as they are.
  void ClearInvalid(int64_t first_row, at::Tensor& block) const;

  // Returns 1 at valid and 0 at invalid positions, [length] float32. Undefined when all are valid.
  const at::Tensor& indicator() const { return indicator_; }

  // Bytes of the tensors held.
  int64_t bytes() const;

 private:
  int64_t length_;
  int64_t count_;
  int64_t first_ = 0;
  std::vector<int32_t> mask_;  // empty: all valid
  at::Tensor invalid_;         // [length] bool; undefined when all are valid
  at::Tensor indicator_;
  at::Tensor masked_rows_;  // [length] bool, of Everywhere() alone; undefined when no position is masked
};

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_VALID_POSITIONS_H_
