// Values of settings as text: sizes and durations with units. Pure
// functions.
#ifndef SERVER_CONFIG_VALUES_H_
#define SERVER_CONFIG_VALUES_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace attribution::config {

// Bytes: "2GiB", "512MiB", "64KiB", "1.5GB", "300kB", "4096B" or plain "4096". Binary units are powers of
// 1024, decimal ones of 1000. Not negative, below 2^63.
absl::StatusOr<int64_t> ParseSize(std::string_view text);

// The shortest text in binary units that ParseSize() reads back.
std::string FormatSize(int64_t bytes);

// A duration with its unit: "30s", "500ms", "2m", "1h30m". Not negative, finite; only "0" may go without a
// unit.
absl::StatusOr<absl::Duration> ParseDuration(std::string_view text);

// A whole number in [low, high].
absl::StatusOr<int64_t> ParseInteger(std::string_view text, int64_t low, int64_t high);

}  // namespace attribution::config

#endif  // SERVER_CONFIG_VALUES_H_
