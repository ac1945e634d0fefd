// Which rows of a sequence's matrices are sent.
//
// Pure function; any thread.
#ifndef SERVER_ROLLOUT_ROW_SELECTION_H_
#define SERVER_ROLLOUT_ROW_SELECTION_H_

#include <cstdint>
#include <vector>

#include "attribution/options.h"

namespace attribution::rollout {

// Consecutive rows [first_row, first_row + rows) of a matrix.
struct RowRun {
  int64_t first_row = 0;
  int64_t rows = 0;

  friend bool operator==(const RowRun&, const RowRun&) = default;
};

// Returns the rows that `selection` names in a sequence of `length` positions: as few runs as possible, in
// ascending order. `mask` holds 0 or 1 for each position; empty: all are valid. REQUIRES: at least one
// position is valid; indices are in [0, length), ascending, each once.
std::vector<RowRun> SelectRows(const RowSelection& selection, const std::vector<int32_t>& mask,
                               int64_t length);

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_ROW_SELECTION_H_
