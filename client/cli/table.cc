#include "client/cli/table.h"

#include <algorithm>
#include <utility>

#include "client/cli/display_width.h"

namespace attribution::cli {
namespace {

constexpr int kGap = 2;

}  // namespace

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {
  for (const Column& column : columns_) widths_.push_back(DisplayWidth(column.title));
}

void Table::AddRow(std::vector<std::string> cells) {
  for (size_t i = 0; i < cells.size(); ++i) {
    cells[i] = Printable(cells[i]);
    widths_[i] = std::max(widths_[i], DisplayWidth(cells[i]));
  }
  rows_.push_back(std::move(cells));
}

std::string Table::Render(int width) const {
  std::string text;
  size_t first = 1;
  do {
    int used = widths_[0];
    size_t last = first;
    while (last < columns_.size() && (last == first || used + kGap + widths_[last] <= width)) {
      used += kGap + widths_[last];
      ++last;
    }
    if (first > 1) text += "\n";
    RenderBlock(first, last, text);
    first = last;
  } while (first < columns_.size());
  return text;
}

void Table::RenderBlock(size_t first, size_t last, std::string& text) const {
  const auto append_line = [&](const auto& cell_of) {
    std::string line;
    AppendCell(0, cell_of(0), line);
    for (size_t i = first; i < last; ++i) AppendCell(i, cell_of(i), line);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  append_line([&](size_t i) { return columns_[i].title; });
  for (const std::vector<std::string>& row : rows_) {
    append_line([&](size_t i) { return row[i]; });
  }
}

void Table::AppendCell(size_t column, const std::string& cell, std::string& line) const {
  if (column > 0) line.append(kGap, ' ');
  const bool left = column == 0 || columns_[column].align == Align::kLeft;
  line += left ? FitLeft(cell, widths_[column]) : FitRight(cell, widths_[column]);
}

}  // namespace attribution::cli
