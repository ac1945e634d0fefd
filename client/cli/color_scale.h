// The colours of the heat map: from dark blue for nothing over green to yellow for the largest value.
#ifndef ATTRIBUTION_CLIENT_CLI_COLOR_SCALE_H_
#define ATTRIBUTION_CLIENT_CLI_COLOR_SCALE_H_

#include <string>

#include "client/cli/terminal.h"

namespace attribution::cli {

struct Rgb {
  int red = 0;
  int green = 0;
  int blue = 0;
};

// Returns the colour of a share of the largest value. Shares outside [0, 1] take the nearest end.
Rgb HeatColor(double share);

// Returns the number of the nearest colour in the 6 x 6 x 6 cube of the 256-colour palette, 16 .. 231.
int NearestPaletteColor(Rgb color);

// Returns the escape sequence that paints the background in the colour of `share` and makes text on it
// readable. REQUIRES: depth is not kNone.
std::string PaintSequence(double share, ColorDepth depth);

inline constexpr char kResetSequence[] = "\x1b[0m";

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_COLOR_SCALE_H_
