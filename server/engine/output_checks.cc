#include "server/engine/output_checks.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"

namespace attribution::engine {

absl::Status CheckOutput(const OutputSelection& output) {
  const bool indices = output.rows.kind == RowSelection::Kind::kIndices;
  if (!indices && !output.rows.indices.empty()) {
    return InvalidField("output.rows.indices",
                        "Row indices are given for another kind of rows. Set rows.kind to KIND_INDICES.");
  }
  if (indices && output.rows.indices.empty()) {
    return InvalidField(
        "output.rows.indices",
        "No row is chosen. rows.kind is KIND_INDICES and there are no indices; give at least one.");
  }
  if (output.rows.kind != RowSelection::Kind::kAll && !output.rollout_matrix && !output.layer_matrices) {
    return InvalidField(
        "output.rows",
        "Rows are chosen, but no matrix is sent. Set rollout_matrix or layer_matrices, or leave "
        "rows unset.");
  }
  if (output.top_k < 0) {
    return InvalidField("output.top_k",
                        absl::StrCat("top_k is negative. It is ", output.top_k, "; 0 means none."));
  }
  return absl::OkStatus();
}

// Looks at each position once, however often it is named.
absl::Status TakeRowIndices(int64_t num_sequences, const std::function<int64_t(int64_t)>& length_of,
                            const std::function<const std::vector<int32_t>&(int64_t)>& mask_of,
                            std::vector<int32_t>& indices) {
  int64_t shortest = 0;
  for (int64_t b = 1; b < num_sequences; ++b) {
    if (length_of(b) < length_of(shortest)) shortest = b;
  }
  std::vector<bool> seen(length_of(shortest), false);
  for (size_t i = 0; i < indices.size(); ++i) {
    const int32_t row = indices[i];
    const auto field = [i] { return absl::StrCat("output.rows.indices[", i, "]"); };
    if (row < 0 || static_cast<size_t>(row) >= seen.size()) {
      return InvalidField(
          field(), absl::StrCat("Row index out of range. It is ", row, ", and sequence ", shortest, " has ",
                                seen.size(), " positions. Choose one in [0, ", seen.size(), ")."));
    }
    if (seen[row]) continue;
    seen[row] = true;
    for (int64_t b = 0; b < num_sequences; ++b) {
      const std::vector<int32_t>& mask = mask_of(b);
      if (mask.empty() || mask[row] != 0) continue;
      return InvalidField(field(),
                          absl::StrCat("Row index at a masked position. Position ", row, " of sequence ", b,
                                       " is masked. Choose positions that are valid in every sequence."));
    }
  }
  std::sort(indices.begin(), indices.end());
  indices.erase(std::unique(indices.begin(), indices.end()), indices.end());
  return absl::OkStatus();
}

}  // namespace attribution::engine
