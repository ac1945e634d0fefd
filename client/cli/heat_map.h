// Draws a matrix with labels as a heat map of text: in colours where the terminal has them, else in shades.
#ifndef ATTRIBUTION_CLIENT_CLI_HEAT_MAP_H_
#define ATTRIBUTION_CLIENT_CLI_HEAT_MAP_H_

#include <string>

#include "client/cli/labelled_matrix.h"
#include "client/cli/terminal.h"

namespace attribution::cli {

// Returns the drawing, lines ending in a newline, none wider than `terminal.width` columns. Labels of columns
// that are wider than a cell go on over several lines. Values are written into cells where they are wide
// enough. A matrix that is too large for the width is folded, and a line says so. The scale is that of
// HeatShare(); a line below shows it. REQUIRES: the matrix has a row and a column; matrix.fold == 1.
std::string DrawHeatMap(const LabelledMatrix& matrix, const Terminal& terminal);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_HEAT_MAP_H_
