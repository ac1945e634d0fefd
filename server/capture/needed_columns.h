// How many columns of the scores a block of rows needs, told from the masks that hide the others.
//
// Only what is certain to come out of the softmax as exactly 0 counts as hidden; where there is doubt, every
// column is needed. Pure function; any thread.
#ifndef SERVER_CAPTURE_NEEDED_COLUMNS_H_
#define SERVER_CAPTURE_NEEDED_COLUMNS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace attribution::capture {

// A cell of the scores that has at most this added to it, or in its place, is 0 after the softmax if its row
// also has a cell that is seen: e^-50000 is 0 in every floating dtype. Half precision reaches -65504.
inline constexpr double kHides = -6e4;

// A cell to which more than this is added is seen; no cell may be raised by more than its negative. What old
// models add to hide padding, -10000, is neither hidden nor seen.
inline constexpr double kSees = -1e4;

// Something that hides cells of one sequence's scores.
struct ScoreMask {
  enum class Kind { kKeepsTrue, kHidesTrue, kAdded };
  Kind kind = Kind::kAdded;
  at::Tensor cells;   // [1 or H, 1 or S, 1 or S]; bool but for kAdded
  double factor = 1;  // kAdded adds factor · cells
};

// Returns the smallest C such that in rows [first_row, first_row + rows) the columns [C, length) are hidden
// in every head, by any of the masks, which all apply. Returns `length` if one of the rows sees nothing in
// one of the heads, for its softmax then spreads over all columns; and on an accelerator, whose answer would
// have to be waited for. Takes a few bytes a cell of one head's rows.
int64_t NeededColumns(const std::vector<ScoreMask>& masks, int64_t first_row, int64_t rows, int64_t length);

// Returns the cells [rows, length] that every mask leaves visible in some head, bool, on the device of
// `options`: those to which more than kSees is added. Without masks all are visible.
at::Tensor VisibleCells(const std::vector<ScoreMask>& masks, int64_t first_row, int64_t rows, int64_t length,
                        const at::TensorOptions& options);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_NEEDED_COLUMNS_H_
