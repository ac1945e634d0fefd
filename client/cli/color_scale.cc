#include "client/cli/color_scale.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace attribution::cli {
namespace {

// Lightness rises from stop to stop, so that the scale also reads in grey and with colour-blind eyes.
constexpr std::array<Rgb, 6> kStops = {
    {{16, 18, 58}, {38, 52, 128}, {30, 102, 150}, {34, 150, 128}, {132, 202, 80}, {252, 232, 84}}};

// Levels of the palette's cube.
constexpr std::array<int, 6> kLevels = {0, 95, 135, 175, 215, 255};

int NearestLevel(int value) {
  const auto nearer = [value](int a, int b) { return std::abs(a - value) < std::abs(b - value); };
  return static_cast<int>(std::min_element(kLevels.begin(), kLevels.end(), nearer) - kLevels.begin());
}

}  // namespace

Rgb HeatColor(double share) {
  const double position = std::clamp(share, 0.0, 1.0) * (kStops.size() - 1);
  const size_t below = std::min(static_cast<size_t>(position), kStops.size() - 2);
  const double weight = position - static_cast<double>(below);
  const auto mix = [weight](int a, int b) { return static_cast<int>(std::lround(a + weight * (b - a))); };
  const Rgb& a = kStops[below];
  const Rgb& b = kStops[below + 1];
  return {mix(a.red, b.red), mix(a.green, b.green), mix(a.blue, b.blue)};
}

int NearestPaletteColor(Rgb color) {
  return 16 + 36 * NearestLevel(color.red) + 6 * NearestLevel(color.green) + NearestLevel(color.blue);
}

std::string PaintSequence(double share, ColorDepth depth) {
  const Rgb color = HeatColor(share);
  // Luma of ITU-R BT.601, 0 .. 255.
  const double luma = 0.299 * color.red + 0.587 * color.green + 0.114 * color.blue;
  const int text = luma > 120 ? 16 : 231;  // black or white of the palette
  if (depth == ColorDepth::k256)
    return absl::StrCat("\x1b[38;5;", text, ";48;5;", NearestPaletteColor(color), "m");
  return absl::StrCat("\x1b[38;5;", text, ";48;2;", color.red, ";", color.green, ";", color.blue, "m");
}

}  // namespace attribution::cli
