// Finds out what the terminal, if there is one, can show.
#ifndef ATTRIBUTION_CLIENT_CLI_TERMINAL_H_
#define ATTRIBUTION_CLIENT_CLI_TERMINAL_H_

#include <functional>
#include <string>

namespace attribution::cli {

enum class ColorMode { kAuto, kAlways, kNever };
enum class ColorDepth { kNone, k256, kTrueColor };

// What output may use.
struct Terminal {
  int width = 80;  // columns
  ColorDepth color = ColorDepth::kNone;
  bool unicode = true;  // else ASCII shading
};

// What is known of an output: where it goes, and the environment.
struct OutputFacts {
  bool is_terminal = false;
  int columns = 0;  // 0: unknown
  // Value of an environment variable; empty if unset.
  std::function<std::string(const std::string& name)> environment;
};

// Decides. Colour is automatic only on a terminal, without NO_COLOR and with TERM other than `dumb`; `always`
// and `never` override all of these. COLORTERM tells true colour, TERM 256 colours. COLUMNS is the width
// where the output tells none.
Terminal DecideTerminal(const OutputFacts& facts, ColorMode mode);

// The facts of file descriptor `descriptor` of this process.
OutputFacts FactsOf(int descriptor);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_TERMINAL_H_
