// Measures, cuts and pads UTF-8 text by the columns it takes on a terminal.
//
// A column is what one ASCII letter takes: a Chinese character or an emoji takes two, a combining accent
// none. Broken UTF-8 counts as U+FFFD. Free functions; thread-safe.
#ifndef ATTRIBUTION_CLIENT_CLI_DISPLAY_WIDTH_H_
#define ATTRIBUTION_CLIENT_CLI_DISPLAY_WIDTH_H_

#include <string>
#include <string_view>
#include <vector>

namespace attribution::cli {

// One visible character: a base with its accents, an emoji with what is joined to it, a flag.
struct Glyph {
  std::string text;  // UTF-8, valid
  int width = 0;     // columns
};

// Splits text into visible characters.
std::vector<Glyph> SplitGlyphs(std::string_view text);

// Returns the columns that `text` takes.
int DisplayWidth(std::string_view text);

// Returns text that cannot move the cursor or change colours: control characters and direction overrides are
// written as `\n`, `\x1b`, `\u202e`; broken UTF-8 becomes U+FFFD.
std::string Printable(std::string_view text);

// Returns text that takes exactly `width` columns: cut, with an ellipsis in the last column, or padded with
// spaces on the right (FitLeft) or on the left (FitRight).
std::string FitLeft(std::string_view text, int width);
std::string FitRight(std::string_view text, int width);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_DISPLAY_WIDTH_H_
