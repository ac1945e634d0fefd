// Attention computed a block of query rows at a time, so that an observer sees every probability and no
// [B, H, S, S] exists. The core of every form of attention; what differs is how scores become probabilities.
#ifndef SERVER_CAPTURE_BLOCKED_ATTENTION_H_
#define SERVER_CAPTURE_BLOCKED_ATTENTION_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <algorithm>
#include <cstdint>
#include <functional>

#include "server/capture/attention_observer.h"

namespace attribution::capture {

// Query rows in work at once when `threads` threads share them: scratch is at most H·rows·S cells. Fewer than
// 32 rows a thread would make the products slow.
inline int64_t RowsInWork(int64_t threads) { return std::max<int64_t>(128, 32 * threads); }

// Query rows of a sequence of `length` positions in work at once, as this thread would cut it, of all
// threads together. The scratch has a row of cells for each of them and each head.
int64_t RowsAtOnce(int64_t length, c10::Device device);

// What is multiplied: softmax(scale · query · key, …) · value. Any strides, one floating dtype.
struct AttentionProducts {
  at::Tensor query;  // [B, H, S, D]
  at::Tensor key;    // [B, K, D, S]; K = H, or divides H: each key then serves H / K query heads in a row
  at::Tensor value;  // [B, K, S, V]
  double scale = 1;
};

// The dtype in which scores are accumulated and softmax is computed: float32 for half precision.
at::ScalarType ComputeType(at::ScalarType model_dtype);

// How the scores of one sequence become probabilities. Called by several threads at once for different
// blocks.
struct SequenceSoftmax {
  // Replaces scores [H, n, C], contiguous, of rows [first_row, first_row + n) by probabilities.
  std::function<void(int64_t first_row, at::Tensor& scores)> apply;

  // How many columns C of S a block of rows needs: the probabilities of the others are 0 in every head. They
  // are neither computed nor multiplied. Null: all of them.
  std::function<int64_t(int64_t first_row, int64_t rows)> columns;

  // The cells [n, S] that the masks leave visible in some head, bool. Null: not known.
  std::function<at::Tensor(int64_t first_row, int64_t rows)> visible;
};

// Computes attention into `output`, [B, H, S, V] of any strides and of the query's dtype, unless that is
// undefined, and shows every block of probabilities to `observer`, if there is one, by AddRows and
// EndSequence. `softmax_of(b)` is called once a sequence, in order.
void ComputeInBlocks(const AttentionProducts& products,
                     const std::function<SequenceSoftmax(int64_t sequence)>& softmax_of,
                     const at::Tensor& output, AttentionObserver* observer);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_BLOCKED_ATTENTION_H_
