#include "server/models/manifest_values.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace attribution::models {

absl::Status Error(const YAML::Mark& mark, absl::string_view text) {
  const std::string line = mark.is_null() ? "" : absl::StrCat(" line ", mark.line + 1);
  return absl::FailedPreconditionError(
      absl::StrCat("The manifest is not valid.", line, line.empty() ? " " : ": ", text));
}

absl::Status Error(const YAML::Node& node, absl::string_view key, absl::string_view text) {
  return Error(node.Mark(), absl::StrCat("`", key, "` ", text));
}

absl::Status ReadInteger(const YAML::Node& node, absl::string_view key, int64_t least, int64_t most,
                         int64_t* value) {
  const bool plain = node.IsScalar() && node.Tag() != "!";  // yaml-cpp tags a quoted scalar with `!`
  int64_t number = 0;
  if (!plain || !absl::SimpleAtoi(node.Scalar(), &number)) return Error(node, key, "must be a whole number.");
  if (number < least || number > most) {
    const std::string range =
        most == kMaxInt64 ? absl::StrCat("at least ", least) : absl::StrCat("in [", least, ", ", most, "]");
    return Error(node, key, absl::StrCat("must be ", range, ", it is ", number, "."));
  }
  *value = number;
  return absl::OkStatus();
}

absl::Status ReadText(const YAML::Node& node, absl::string_view key, std::string* value) {
  if (!node.IsScalar()) return Error(node, key, "must be text.");
  *value = node.Scalar();
  return absl::OkStatus();
}

}  // namespace attribution::models
