#include "server/config_values.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace attribution::config {
namespace {

struct Unit {
  std::string_view name;
  double bytes;
};

// Largest first, so that FormatSize() takes the first binary one that divides.
constexpr std::array<Unit, 9> kUnits = {{{"TiB", 1099511627776.0},
                                         {"GiB", 1073741824.0},
                                         {"MiB", 1048576.0},
                                         {"KiB", 1024.0},
                                         {"TB", 1e12},
                                         {"GB", 1e9},
                                         {"MB", 1e6},
                                         {"kB", 1e3},
                                         {"B", 1.0}}};

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

absl::StatusOr<int64_t> ParseSize(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  const std::string_view unit_name = text.substr(digits);
  const auto unit =
      std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return u.name == unit_name; });
  double number = 0;
  if (digits > 0 && (unit_name.empty() || unit != kUnits.end()) &&
      absl::SimpleAtod(View(text.substr(0, digits)), &number)) {
    const double bytes = number * (unit_name.empty() ? 1.0 : unit->bytes);
    if (std::isfinite(bytes) && bytes < 9.2e18 && bytes == std::floor(bytes))
      return static_cast<int64_t>(bytes);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", View(text), "\" is not a size. Write bytes with a unit, such as 2GiB, 512MiB or 4096."));
}

std::string FormatSize(int64_t bytes) {
  for (size_t i = 0; bytes != 0 && i < 4; ++i) {
    const auto unit = static_cast<int64_t>(kUnits[i].bytes);
    if (bytes % unit == 0) return absl::StrCat(bytes / unit, View(kUnits[i].name));
  }
  return absl::StrCat(bytes);
}

absl::StatusOr<absl::Duration> ParseDuration(std::string_view text) {
  absl::Duration duration;
  if (absl::ParseDuration(View(text), &duration) && duration >= absl::ZeroDuration() &&
      duration != absl::InfiniteDuration()) {
    return duration;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", View(text), "\" is not a duration. Write it with a unit, such as 30s, 500ms or 2m."));
}

absl::StatusOr<int64_t> ParseInteger(std::string_view text, int64_t low, int64_t high) {
  int64_t number = 0;
  if (absl::SimpleAtoi(View(text), &number) && number >= low && number <= high) return number;
  return absl::InvalidArgumentError(
      absl::StrCat("\"", View(text), "\" is not a whole number from ", low, " to ", high, "."));
}

}  // namespace attribution::config
