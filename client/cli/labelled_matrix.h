// A matrix with a label for each row and column, and its folding into a smaller one that can be looked at.
#ifndef ATTRIBUTION_CLIENT_CLI_LABELLED_MATRIX_H_
#define ATTRIBUTION_CLIENT_CLI_LABELLED_MATRIX_H_

#include <string>
#include <vector>

namespace attribution::cli {

struct LabelledMatrix {
  std::vector<std::string> row_labels;     // UTF-8, as printed
  std::vector<std::string> column_labels;  // UTF-8, as printed
  std::vector<float> values;               // row-major, row_labels.size() x column_labels.size()
  int fold = 1;                            // rows and columns of the original that one cell stands for

  int rows() const { return static_cast<int>(row_labels.size()); }
  int columns() const { return static_cast<int>(column_labels.size()); }
  float at(int row, int column) const {
    return values[static_cast<size_t>(row) * column_labels.size() + static_cast<size_t>(column)];
  }
};

// Returns the largest value, at least 0.
float Largest(const LabelledMatrix& matrix);

// Returns where a value lies between nothing, 0, and the largest, 1. Rollout spreads over orders of
// magnitude, with one column far above all others, so the scale is logarithmic: 1/6 for each doubling, 0 from
// a 64th of the largest down.
double HeatShare(float value, float largest);

// Returns the matrix with neighbours put together until neither side is longer than `limit`; as it is if it
// fits. A cell is the sum over its columns of the mean over its rows, so rows of attention still sum to 1.
// Rows are folded only if there are more of them than `limit`. Labels become positions: `16-31 token` for
// rows, `16` for columns. REQUIRES: limit >= 1; matrix.fold == 1.
LabelledMatrix Fold(const LabelledMatrix& matrix, int limit);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_LABELLED_MATRIX_H_
