#include "client/cli/display_width.h"

#include <locale.h>
#include <wchar.h>

#include <algorithm>
#include <cstdio>

#include "client/cli/unicode.h"

namespace attribution::cli {
namespace {

constexpr char32_t kZeroWidthJoiner = 0x200D;
constexpr char32_t kEmojiPresentation = 0xFE0F;
constexpr char kEllipsis[] = "…";

bool IsSkinTone(char32_t c) { return c >= 0x1F3FB && c <= 0x1F3FF; }
bool IsRegionalIndicator(char32_t c) { return c >= 0x1F1E6 && c <= 0x1F1FF; }
bool IsControl(char32_t c) { return c < 0x20 || (c >= 0x7F && c < 0xA0); }
bool IsDirectionOverride(char32_t c) {
  return (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0x2028 || c == 0x2029;
}

// Makes wcwidth() know Unicode for as long as it lives, whatever the process's locale, on this thread only.
class UnicodeLocale {
 public:
  UnicodeLocale() : previous_(uselocale(Locale())) {}
  ~UnicodeLocale() { uselocale(previous_); }
  UnicodeLocale(const UnicodeLocale&) = delete;
  UnicodeLocale& operator=(const UnicodeLocale&) = delete;

  int Width(char32_t c) const {
    if (IsRegionalIndicator(c)) return 1;
    return std::max(0, wcwidth(static_cast<wchar_t>(c)));
  }

 private:
  // C.UTF-8 is built into the C library; without it every character but ASCII would count as nothing.
  static locale_t Locale() {
    static const locale_t locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    return locale;
  }

  const locale_t previous_;
};

}  // namespace

std::vector<Glyph> SplitGlyphs(std::string_view text) {
  const UnicodeLocale locale;
  std::vector<Glyph> glyphs;
  char32_t previous = 0;
  bool flag_is_open = false;
  while (!text.empty()) {
    const char32_t c = TakeCodePoint(text);
    const int width = locale.Width(c);
    const bool closes_flag = flag_is_open && IsRegionalIndicator(c);
    const bool joins = !glyphs.empty() && (width == 0 || previous == kZeroWidthJoiner || closes_flag ||
                                           (IsSkinTone(c) && glyphs.back().width == 2));
    if (!joins) glyphs.push_back({.text = "", .width = width});
    Glyph& glyph = glyphs.back();
    AppendUtf8(c, glyph.text);
    // A symbol such as U+2764 takes one column as text and two as an emoji.
    if (closes_flag || (c == kEmojiPresentation && previous >= 0x2000)) glyph.width = 2;
    flag_is_open = IsRegionalIndicator(c) && !closes_flag;
    previous = c;
  }
  return glyphs;
}

int DisplayWidth(std::string_view text) {
  int width = 0;
  for (const Glyph& glyph : SplitGlyphs(text)) width += glyph.width;
  return width;
}

std::string Printable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const char32_t c = TakeCodePoint(text);
    char escaped[16];
    if (c == '\n') {
      result += "\\n";
    } else if (c == '\r') {
      result += "\\r";
    } else if (c == '\t') {
      result += "\\t";
    } else if (IsControl(c)) {
      std::snprintf(escaped, sizeof(escaped), "\\x%02x", static_cast<unsigned>(c));
      result += escaped;
    } else if (IsDirectionOverride(c)) {
      std::snprintf(escaped, sizeof(escaped), "\\u%04x", static_cast<unsigned>(c));
      result += escaped;
    } else {
      AppendUtf8(c, result);
    }
  }
  return result;
}

namespace {

// Returns at most `width` columns of `text`, and in `used` how many; ends in an ellipsis if something was
// cut.
std::string Cut(std::string_view text, int width, int& used) {
  const std::vector<Glyph> glyphs = SplitGlyphs(text);
  int total = 0;
  for (const Glyph& glyph : glyphs) total += glyph.width;
  const bool fits = total <= width;
  const int room = fits ? width : width - 1;
  std::string result;
  used = 0;
  for (const Glyph& glyph : glyphs) {
    if (used + glyph.width > room) break;
    result += glyph.text;
    used += glyph.width;
  }
  if (!fits && width > 0) {
    result += kEllipsis;
    ++used;
  }
  return result;
}

}  // namespace

std::string FitLeft(std::string_view text, int width) {
  int used = 0;
  std::string result = Cut(text, width, used);
  return result.append(static_cast<size_t>(std::max(0, width - used)), ' ');
}

std::string FitRight(std::string_view text, int width) {
  int used = 0;
  const std::string result = Cut(text, width, used);
  return std::string(static_cast<size_t>(std::max(0, width - used)), ' ') + result;
}

}  // namespace attribution::cli
