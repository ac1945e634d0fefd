// Reads single values of a manifest, strictly, and words its errors.
//
// Pure functions; any thread. Those of yaml-cpp may throw YAML::Exception.
#ifndef SERVER_MODELS_MANIFEST_VALUES_H_
#define SERVER_MODELS_MANIFEST_VALUES_H_

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace attribution::models {

inline constexpr int64_t kMaxInt64 = std::numeric_limits<int64_t>::max();

// FAILED_PRECONDITION with the line, if there is one, and `text`.
absl::Status Error(const YAML::Mark& mark, absl::string_view text);
absl::Status Error(const YAML::Node& node, absl::string_view key, absl::string_view text);

// Reads a whole number in [least, most] into `value`.
absl::Status ReadInteger(const YAML::Node& node, absl::string_view key, int64_t least, int64_t most,
                         int64_t* value);

// Reads a scalar as text into `value`.
absl::Status ReadText(const YAML::Node& node, absl::string_view key, std::string* value);

}  // namespace attribution::models

#endif  // SERVER_MODELS_MANIFEST_VALUES_H_
