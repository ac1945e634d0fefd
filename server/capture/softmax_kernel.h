// The softmax of attention on the CPU, one pass over memory: mask, maximum, exponential, sum and
// normalisation of a row happen while it is in the first-level cache. About twice as fast as adding the mask
// and calling ATen's softmax.
//
// Pure function on raw rows; any thread.
#ifndef SERVER_CAPTURE_SOFTMAX_KERNEL_H_
#define SERVER_CAPTURE_SOFTMAX_KERNEL_H_

#include <cstdint>

namespace attribution::capture {

// Scores [heads, rows, columns], contiguous.
struct ScoreBlock {
  float* cells = nullptr;
  int64_t heads = 0;
  int64_t rows = 0;
  int64_t columns = 0;
};

// What is added to the scores: cell (h, i, j) is cells[h·head_stride + i·row_stride + j]. A stride of 0
// broadcasts.
struct AddedMask {
  const float* cells = nullptr;  // null: nothing is added
  int64_t head_stride = 0;
  int64_t row_stride = 0;
};

// No column is hidden.
inline constexpr int64_t kNotCausal = -1;

// What becomes of a row whose every column is hidden, by causality or by a mask of minus infinity.
enum class HiddenRows {
  kZero,  // as ATen's scaled_dot_product_attention leaves it
  kNan,   // as ATen's softmax leaves it
};

// Replaces scores by softmax(scores + mask) over the columns. With `causal_row` >= 0, row i of the block is
// row causal_row + i of its matrix and later columns are hidden. NaN and infinite scores make a row NaN. The
// error of a cell is below 2e-7.
void SoftmaxInPlace(const ScoreBlock& scores, const AddedMask& mask, int64_t causal_row,
                    HiddenRows hidden_rows);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_SOFTMAX_KERNEL_H_
