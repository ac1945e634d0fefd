#include "client/cli/labelled_matrix.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace attribution::cli {

float Largest(const LabelledMatrix& matrix) {
  float largest = 0;
  for (const float value : matrix.values) largest = std::max(largest, value);
  return largest;
}

double HeatShare(float value, float largest) {
  constexpr double kDoublings = 6;
  if (!(value > 0) || !(largest > 0)) return 0;
  return std::clamp(1 + std::log2(static_cast<double>(value) / static_cast<double>(largest)) / kDoublings,
                    0.0, 1.0);
}

LabelledMatrix Fold(const LabelledMatrix& matrix, int limit) {
  const int longest = std::max(matrix.rows(), matrix.columns());
  if (longest <= limit) return matrix;
  LabelledMatrix folded;
  folded.fold = (longest + limit - 1) / limit;
  const int row_step = matrix.rows() > limit ? folded.fold : 1;
  const int column_step = matrix.columns() > limit ? folded.fold : 1;

  for (int row = 0; row < matrix.rows(); row += row_step) {
    const int last = std::min(row + row_step, matrix.rows()) - 1;
    const std::string& label = matrix.row_labels[static_cast<size_t>(row)];
    folded.row_labels.push_back(row_step == 1 ? label : absl::StrCat(row, "-", last, " ", label));
  }
  for (int column = 0; column < matrix.columns(); column += column_step) {
    folded.column_labels.push_back(column_step == 1 ? matrix.column_labels[static_cast<size_t>(column)]
                                                    : absl::StrCat(column));
  }
  for (int row = 0; row < matrix.rows(); row += row_step) {
    const int row_end = std::min(row + row_step, matrix.rows());
    for (int column = 0; column < matrix.columns(); column += column_step) {
      const int column_end = std::min(column + column_step, matrix.columns());
      double sum = 0;
      for (int i = row; i < row_end; ++i) {
        for (int j = column; j < column_end; ++j) sum += matrix.at(i, j);
      }
      folded.values.push_back(static_cast<float>(sum / (row_end - row)));
    }
  }
  return folded;
}

}  // namespace attribution::cli
