// Makes a web page of one reply: a heat map for each sequence and the tables of metrics.
//
// The page is one file: it loads nothing, runs no script, and follows the reader's light or dark preference.
// All text that came from the user or the model is escaped. Free functions; thread-safe.
#ifndef ATTRIBUTION_CLIENT_CLI_HTML_PAGE_H_
#define ATTRIBUTION_CLIENT_CLI_HTML_PAGE_H_

#include <string>
#include <string_view>

#include "client/cli/labelled_matrix.h"
#include "client/cli/reply.h"

namespace attribution::cli {

// Returns text that is safe in HTML, in attributes too; control characters are made visible.
std::string EscapeHtml(std::string_view text);

// Returns a table of the matrix. Each cell has its colour from its share of the largest value and tells its
// tokens and value when pointed at. Matrices longer than 128 are folded.
std::string HtmlHeatMap(const LabelledMatrix& matrix);

// Returns the whole page.
std::string HtmlPage(const Reply& reply);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_HTML_PAGE_H_
