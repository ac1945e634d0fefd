// RowEnds says from which column on each row of a matrix holds nothing but 0: the shape that a causal mask
// gives attention, and its products keep.
//
// Set() may be called by several threads at once for different rows; all else comes from one thread at a
// time.
#ifndef SERVER_ROLLOUT_ROW_ENDS_H_
#define SERVER_ROLLOUT_ROW_ENDS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

namespace attribution::rollout {

class RowEnds {
 public:
  // Of a matrix of `length` rows.
  explicit RowEnds(int64_t length) : ends_(length, length) {}

  // Rows [first_row, first_row + rows) are 0 from column `end` on.
  void Set(int64_t first_row, int64_t rows, int64_t end) {
    std::fill_n(ends_.begin() + first_row, rows, end);
  }

  // From this column on all of these rows are 0. REQUIRES: rows > 0.
  int64_t Of(int64_t first_row, int64_t rows) const {
    return *std::max_element(ends_.begin() + first_row, ends_.begin() + first_row + rows);
  }

 private:
  std::vector<int64_t> ends_;
};

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_ROW_ENDS_H_
