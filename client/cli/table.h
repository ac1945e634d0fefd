// Lays out a table of text in aligned columns.
#ifndef ATTRIBUTION_CLIENT_CLI_TABLE_H_
#define ATTRIBUTION_CLIENT_CLI_TABLE_H_

#include <string>
#include <vector>

namespace attribution::cli {

// Collects rows, then prints them. The first column and those made with kLeft are left-aligned, numbers
// right.
class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kRight;
  };

  explicit Table(std::vector<Column> columns);

  // REQUIRES: as many cells as columns. Control characters in cells are made visible.
  void AddRow(std::vector<std::string> cells);

  // Returns the lines of the table. If it is wider than `width` columns, the other columns go into blocks
  // below each other, the first column repeated in each.
  std::string Render(int width) const;

 private:
  // Appends the lines of columns [first, last), after column 0.
  void RenderBlock(size_t first, size_t last, std::string& text) const;
  void AppendCell(size_t column, const std::string& cell, std::string& line) const;

  const std::vector<Column> columns_;
  std::vector<int> widths_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_TABLE_H_
