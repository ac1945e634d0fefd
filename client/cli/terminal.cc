#include "client/cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"

namespace attribution::cli {
namespace {

constexpr int kDefaultWidth = 80;
constexpr int kNarrowest = 40;

// The colours to use where colour is wanted. A terminal with 16 colours has too few for a scale.
ColorDepth DepthOf(const OutputFacts& facts) {
  const std::string color_term = facts.environment("COLORTERM");
  const std::string term = facts.environment("TERM");
  if (color_term == "truecolor" || color_term == "24bit" || absl::EndsWith(term, "-direct")) {
    return ColorDepth::kTrueColor;
  }
  return absl::StrContains(term, "256color") || !color_term.empty() ? ColorDepth::k256 : ColorDepth::kNone;
}

// Whether the locale's characters are UTF-8. An unset locale is taken for UTF-8, as tokens are.
bool IsUnicode(const OutputFacts& facts) {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string locale = absl::AsciiStrToLower(facts.environment(name));
    if (!locale.empty()) return absl::StrContains(locale, "utf-8") || absl::StrContains(locale, "utf8");
  }
  return true;
}

}  // namespace

Terminal DecideTerminal(const OutputFacts& facts, ColorMode mode) {
  Terminal terminal;
  int columns = facts.columns;
  if (columns <= 0 && !absl::SimpleAtoi(facts.environment("COLUMNS"), &columns)) columns = 0;
  terminal.width = columns <= 0 ? kDefaultWidth : std::max(columns, kNarrowest);
  terminal.unicode = IsUnicode(facts);
  if (mode == ColorMode::kAlways) {
    terminal.color = DepthOf(facts) == ColorDepth::kTrueColor ? ColorDepth::kTrueColor : ColorDepth::k256;
  } else if (mode == ColorMode::kAuto && facts.is_terminal && facts.environment("NO_COLOR").empty() &&
             facts.environment("TERM") != "dumb") {
    terminal.color = DepthOf(facts);
  }
  return terminal;
}

OutputFacts FactsOf(int descriptor) {
  OutputFacts facts;
  facts.is_terminal = isatty(descriptor) == 1;
  winsize size{};
  if (facts.is_terminal && ioctl(descriptor, TIOCGWINSZ, &size) == 0) facts.columns = size.ws_col;
  facts.environment = [](const std::string& name) {
    const char* value = std::getenv(name.c_str());
    return std::string(value == nullptr ? "" : value);
  };
  return facts;
}

}  // namespace attribution::cli
