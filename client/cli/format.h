// Writes numbers, byte counts and durations for people.
#ifndef ATTRIBUTION_CLIENT_CLI_FORMAT_H_
#define ATTRIBUTION_CLIENT_CLI_FORMAT_H_

#include <cstdint>
#include <optional>
#include <string>

namespace attribution::cli {

// Four decimals; `-` for what is absent or not a number.
std::string FormatValue(std::optional<double> value);

// `512 B`, `1.5 KiB`, `20.0 MiB`.
std::string FormatBytes(int64_t bytes);

// `850 us`, `12.3 ms`, `4.20 s`.
std::string FormatSeconds(double seconds);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_FORMAT_H_
