#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/display_width.h"
#include "client/cli/html_page.h"

namespace attribution::cli {
namespace {

constexpr int kLongest = 128;
// Up to this many columns the values are written into the cells.
constexpr int kMostColumnsWithValues = 20;
// Share of the largest value from which text in a cell needs the other colour.
constexpr double kHot = 0.55;

std::string HtmlCell(const LabelledMatrix& matrix, int row, int column, float largest) {
  const float value = matrix.at(row, column);
  const double share = HeatShare(value, largest);
  std::string text;
  if (matrix.columns() <= kMostColumnsWithValues) text = absl::StrFormat("%.2f", std::max(value, 0.0f));
  return absl::StrFormat("<td%s style=\"--v:%.3f\" title=\"%s → %s: %.4f\">%s</td>",
                         share > kHot ? " class=\"hot\"" : "", share,
                         EscapeHtml(matrix.row_labels[static_cast<size_t>(row)]),
                         EscapeHtml(matrix.column_labels[static_cast<size_t>(column)]), value, text);
}

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string escaped;
  for (const char c : Printable(text)) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string HtmlHeatMap(const LabelledMatrix& original) {
  const LabelledMatrix matrix = Fold(original, kLongest);
  const float largest = Largest(matrix);
  const bool small = matrix.columns() > kMostColumnsWithValues;
  std::string html = absl::StrCat("<div class=\"scroll\"><table class=\"heat", small ? " small" : "",
                                  "\">\n<thead><tr><td></td>");
  for (const std::string& label : matrix.column_labels) {
    absl::StrAppend(&html, "<th scope=\"col\"><span>", EscapeHtml(label), "</span></th>");
  }
  html += "</tr></thead>\n<tbody>\n";
  for (int row = 0; row < matrix.rows(); ++row) {
    absl::StrAppend(&html, "<tr><th scope=\"row\">", EscapeHtml(matrix.row_labels[static_cast<size_t>(row)]),
                    "</th>");
    for (int column = 0; column < matrix.columns(); ++column) html += HtmlCell(matrix, row, column, largest);
    html += "</tr>\n";
  }
  absl::StrAppendFormat(&html,
                        "</tbody></table></div>\n<p class=\"scale\">%.3f <span></span> %.3f, logarithmic "
                        "&ensp; rows: query tokens, "
                        "columns: tokens attended to</p>\n",
                        largest / 64, largest);
  if (matrix.fold > 1) {
    absl::StrAppendFormat(&html, "<p>Folded: a cell is %d tokens (rows: mean, columns: sum).</p>\n",
                          matrix.fold);
  }
  return html;
}

}  // namespace attribution::cli
