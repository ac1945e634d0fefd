#include "server/models/model_policy.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <exception>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/text/nearest_name.h"

namespace attribution::models {
namespace {

constexpr size_t kMaxVersions = 1024;

absl::Status Error(const YAML::Mark& mark, absl::string_view text) {
  const std::string line = mark.is_null() ? "" : absl::StrCat(" Line ", mark.line + 1, ":");
  return absl::FailedPreconditionError(absl::StrCat("model.yaml is not valid.", line, " ", text));
}

// Quoted text is no number.
bool ReadVersion(const YAML::Node& node, int64_t least, int64_t* version) {
  return node.IsScalar() && node.Tag() != "!" && absl::SimpleAtoi(node.Scalar(), version) &&
         *version >= least;
}

// `versions: all`, `versions: 2` (the newest two) or `versions: [3, 7]`.
absl::Status ReadVersions(const YAML::Node& node, ModelPolicy& policy) {
  if (node.IsScalar() && node.Scalar() == "all") {
    policy.latest = 0;
    return absl::OkStatus();
  }
  if (ReadVersion(node, 1, &policy.latest)) return absl::OkStatus();
  bool valid = node.IsSequence() && node.size() > 0 && node.size() <= kMaxVersions;
  for (size_t i = 0; valid && i < node.size(); ++i) {
    int64_t version = 0;
    valid = ReadVersion(node[i], 0, &version);
    policy.versions.insert(version);
  }
  if (valid) return absl::OkStatus();
  return Error(node.Mark(), absl::StrCat("`versions` must be all, how many of the newest, or a list of 1 to ",
                                         kMaxVersions, " versions."));
}

absl::Status ReadPinned(const YAML::Node& node, ModelPolicy& policy) {
  const bool plain = node.IsScalar() && node.Tag() != "!";
  if (!plain || (node.Scalar() != "true" && node.Scalar() != "false"))
    return Error(node.Mark(), "`pinned` must be true or false.");
  policy.pinned = node.Scalar() == "true";
  return absl::OkStatus();
}

absl::Status UnknownKey(const YAML::Node& node) {
  const std::string nearest = text::NearestName(node.Scalar(), {"versions", "pinned"});
  return Error(node.Mark(), nearest.empty()
                                ? "A key is not known. There are versions and pinned."
                                : absl::StrCat("A key is not known. Did you mean `", nearest, "`?"));
}

absl::StatusOr<ModelPolicy> Parse(std::string_view yaml) {
  ModelPolicy policy;
  const YAML::Node document = YAML::Load(std::string(yaml));
  if (document.IsNull()) return policy;
  if (!document.IsMap()) return Error(document.Mark(), "It must be a mapping of keys to values.");
  std::set<std::string> seen;
  for (const auto& entry : document) {
    if (!entry.first.IsScalar()) return Error(entry.first.Mark(), "A key must be a word.");
    const std::string& key = entry.first.Scalar();
    if (key != "versions" && key != "pinned") return UnknownKey(entry.first);
    if (!seen.insert(key).second)
      return Error(entry.first.Mark(), absl::StrCat("`", key, "` is given twice."));
    absl::Status status =
        key == "versions" ? ReadVersions(entry.second, policy) : ReadPinned(entry.second, policy);
    if (!status.ok()) return status;
  }
  return policy;
}

}  // namespace

absl::StatusOr<ModelPolicy> ParseModelPolicy(std::string_view yaml) {
  if (yaml.size() > kMaxPolicyBytes) {
    return Error(YAML::Mark::null_mark(),
                 absl::StrCat("It is ", yaml.size(), " bytes long, at most ", kMaxPolicyBytes, " are read."));
  }
  try {
    return Parse(yaml);
  } catch (const YAML::Exception& error) {
    return Error(error.mark, absl::StrCat("It cannot be read as YAML: ", error.msg, "."));
  } catch (const std::exception&) {
    return Error(YAML::Mark::null_mark(), "It cannot be read as YAML.");
  }
}

std::set<int64_t> WantedVersions(const ModelPolicy& policy, const std::vector<int64_t>& versions) {
  std::set<int64_t> wanted;
  if (!policy.versions.empty()) {
    for (const int64_t version : versions) {
      if (policy.versions.contains(version)) wanted.insert(version);
    }
    return wanted;
  }
  const auto count = static_cast<int64_t>(versions.size());
  const int64_t newest = policy.latest == 0 ? count : std::min(policy.latest, count);
  wanted.insert(versions.end() - newest, versions.end());
  return wanted;
}

}  // namespace attribution::models
