// A line is: row label, space, cells. All cells have the same width: 2 columns, or where there is room for
// the value 4 or more, and more still where the labels above need it. The row labels get at most a quarter of
// the line.
#include "client/cli/heat_map.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/color_scale.h"
#include "client/cli/display_width.h"

namespace attribution::cli {
namespace {

constexpr int kNarrowCell = 2;
constexpr int kPaintedValueCell = 4;  // space, ".43"
constexpr int kShadedValueCell = 5;   // shade, shade, ".43"
constexpr int kRoomyCell = 6;
constexpr int kWidestCell = 12;
constexpr size_t kMostHeaderLines = 8;
constexpr int kScaleCells = 16;

constexpr std::array<std::string_view, 5> kUnicodeShades = {" ", "░", "▒", "▓", "█"};
constexpr std::array<std::string_view, 5> kAsciiShades = {" ", ":", "+", "%", "#"};

struct Layout {
  int label_width = 0;
  int cell_width = 0;
};

int WidestLabel(const std::vector<std::string>& labels) {
  int widest = 0;
  for (const std::string& label : labels) widest = std::max(widest, DisplayWidth(label));
  return widest;
}

int LabelWidth(const LabelledMatrix& matrix, const Terminal& terminal) {
  return std::clamp(WidestLabel(matrix.row_labels), 1, terminal.width / 4);
}

Layout Arrange(const LabelledMatrix& matrix, const Terminal& terminal) {
  const int label_width = LabelWidth(matrix, terminal);
  const int room = (terminal.width - label_width - 1) / std::max(1, matrix.columns());
  const int wanted = std::clamp(WidestLabel(matrix.column_labels) + 1, kRoomyCell, kWidestCell);
  const bool with_values =
      room >= (terminal.color == ColorDepth::kNone ? kShadedValueCell : kPaintedValueCell);
  return {label_width, with_values ? std::min(room, wanted) : kNarrowCell};
}

// Cuts a label into lines of at most `width` columns; a character that is wider has a line of its own.
std::vector<std::string> Wrap(std::string_view label, int width) {
  std::vector<std::string> lines;
  int used = width;
  for (const Glyph& glyph : SplitGlyphs(label)) {
    if (used + glyph.width > width) {
      lines.emplace_back();
      used = 0;
    }
    lines.back() += glyph.text;
    used += glyph.width;
  }
  if (lines.size() > kMostHeaderLines) {
    lines.resize(kMostHeaderLines);
    lines.back() = "…";
  }
  return lines;
}

// Writes the labels of the columns above the cells, ending on the same line.
std::string Header(const LabelledMatrix& matrix, const Layout& layout) {
  std::vector<std::vector<std::string>> wrapped;
  size_t height = 0;
  for (const std::string& label : matrix.column_labels) {
    wrapped.push_back(Wrap(label, layout.cell_width - 1));
    height = std::max(height, wrapped.back().size());
  }
  std::string text;
  for (size_t line = 0; line < height; ++line) {
    std::string row(static_cast<size_t>(layout.label_width + 1), ' ');
    for (const std::vector<std::string>& label : wrapped) {
      const size_t skipped = height - label.size();
      row += FitLeft(line < skipped ? "" : label[line - skipped], layout.cell_width);
    }
    row.erase(row.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, row, "\n");
  }
  return text;
}

// Writes a value in three columns: ".07", "1.0".
std::string ShortValue(float value) {
  if (value >= 0.995f) return absl::StrFormat("%3.1f", std::min(value, 9.9f));
  return absl::StrFormat("%.2f", std::max(value, 0.0f)).substr(1);
}

std::string Shade(double share, bool unicode) {
  const auto& shades = unicode ? kUnicodeShades : kAsciiShades;
  const double level = std::clamp(share, 0.0, 1.0) * static_cast<double>(shades.size() - 1);
  return std::string(shades[static_cast<size_t>(std::lround(level))]);
}

std::string DrawCell(float value, double share, int width, const Terminal& terminal) {
  const bool with_value = width > kNarrowCell;
  if (terminal.color != ColorDepth::kNone) {
    const std::string text = with_value ? FitLeft(absl::StrCat(" ", ShortValue(value)), width)
                                        : std::string(static_cast<size_t>(width), ' ');
    return absl::StrCat(PaintSequence(share, terminal.color), text);
  }
  const std::string shade = Shade(share, terminal.unicode);
  const std::string pair = absl::StrCat(shade, shade);
  return with_value ? FitLeft(absl::StrCat(pair, ShortValue(value)), width) : pair;
}

std::string Scale(float largest, const Terminal& terminal) {
  std::string text = absl::StrFormat("%.3f ", largest / 64);
  for (int i = 0; i < kScaleCells; ++i) {
    const double share = static_cast<double>(i) / (kScaleCells - 1);
    text += terminal.color == ColorDepth::kNone ? Shade(share, terminal.unicode)
                                                : PaintSequence(share, terminal.color) + " ";
  }
  if (terminal.color != ColorDepth::kNone) text += kResetSequence;
  return absl::StrFormat("%s %.3f, logarithmic\n", text, largest);
}

}  // namespace

std::string DrawHeatMap(const LabelledMatrix& original, const Terminal& terminal) {
  const int most_columns = std::max(1, (terminal.width - terminal.width / 4 - 1) / kNarrowCell);
  const LabelledMatrix matrix = Fold(original, most_columns);
  const Layout layout = Arrange(matrix, terminal);
  const float largest = Largest(matrix);
  std::string text = Header(matrix, layout);
  for (int row = 0; row < matrix.rows(); ++row) {
    std::string line = FitRight(matrix.row_labels[static_cast<size_t>(row)], layout.label_width) + " ";
    for (int column = 0; column < matrix.columns(); ++column) {
      const float value = matrix.at(row, column);
      line += DrawCell(value, HeatShare(value, largest), layout.cell_width, terminal);
    }
    if (terminal.color == ColorDepth::kNone) {
      line.erase(line.find_last_not_of(' ') + 1);
    } else {
      line += kResetSequence;
    }
    absl::StrAppend(&text, line, "\n");
  }
  text += Scale(largest, terminal);
  if (matrix.fold > 1) {
    absl::StrAppendFormat(&text, "Folded: a cell is %d tokens (rows: mean, columns: sum)\n", matrix.fold);
  }
  return text;
}

}  // namespace attribution::cli
