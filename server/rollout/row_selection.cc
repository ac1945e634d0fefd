#include "server/rollout/row_selection.h"

#include <algorithm>

namespace attribution::rollout {
namespace {

std::vector<RowRun> RunsOf(const std::vector<int32_t>& rows) {
  std::vector<RowRun> runs;
  for (const int32_t row : rows) {
    const bool follows = !runs.empty() && runs.back().first_row + runs.back().rows == row;
    if (!follows) runs.push_back({row, 0});
    ++runs.back().rows;
  }
  return runs;
}

}  // namespace

std::vector<RowRun> SelectRows(const RowSelection& selection, const std::vector<int32_t>& mask,
                               int64_t length) {
  switch (selection.kind) {
    case RowSelection::Kind::kFirstValid:
      return {{mask.empty() ? 0 : std::find(mask.begin(), mask.end(), 1) - mask.begin(), 1}};
    case RowSelection::Kind::kLastValid:
      return {{mask.empty() ? length - 1 : mask.rend() - std::find(mask.rbegin(), mask.rend(), 1) - 1, 1}};
    case RowSelection::Kind::kIndices:
      return RunsOf(selection.indices);
    case RowSelection::Kind::kAll:
      break;
  }
  return {{0, length}};
}

}  // namespace attribution::rollout
