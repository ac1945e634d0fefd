#include "server/models/model_repository.h"

#include <algorithm>
#include <optional>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/text/small_file.h"

namespace attribution::models {
namespace {

namespace fs = std::filesystem;

// Whether the resolved `path` is `root` or below it, compared part by part.
bool IsInside(const fs::path& path, const fs::path& root) {
  return std::mismatch(root.begin(), root.end(), path.begin(), path.end()).first == root.end();
}

// Returns the version that a directory's name stands for: digits without leading zeros, so that no two names
// mean the same.
std::optional<int64_t> VersionOf(const std::string& name) {
  int64_t version = 0;
  const bool digits = !name.empty() && std::all_of(name.begin(), name.end(),
                                                   [](unsigned char c) { return absl::ascii_isdigit(c); });
  if (!digits || (name.size() > 1 && name[0] == '0') || !absl::SimpleAtoi(name, &version))
    return std::nullopt;
  return version;
}

// Returns the names of the directory's entries that are not hidden, sorted; those read before an error.
std::vector<std::string> EntriesOf(const fs::path& directory, std::error_code& error) {
  std::vector<std::string> names;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (name[0] != '.') names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Finds `file` of a bundle and stores the place it leads to in `found`; leaves it empty if there is no such
// file.
absl::Status Resolve(const fs::path& root, const fs::path& directory, const char* file, fs::path& found) {
  std::error_code error;
  const fs::path path = directory / file;
  const fs::file_status link = fs::symlink_status(path, error);
  if (link.type() == fs::file_type::not_found) return absl::OkStatus();
  const fs::path resolved = fs::canonical(path, error);
  if (error) return absl::FailedPreconditionError(absl::StrCat(file, " cannot be opened."));
  if (!IsInside(resolved, root)) {
    return absl::FailedPreconditionError(
        absl::StrCat(file, " leads outside the model repository. Copy the file into it."));
  }
  if (!fs::is_regular_file(resolved, error))
    return absl::FailedPreconditionError(absl::StrCat(file, " is not a file."));
  found = resolved;
  return absl::OkStatus();
}

// Fills the paths of a bundle whose directory is known to be inside `root`.
absl::Status ResolveFiles(const fs::path& root, BundlePaths& bundle) {
  fs::path weights;
  const std::pair<const char*, fs::path*> files[] = {{"model.pt", &bundle.model},
                                                     {"manifest.yaml", &bundle.manifest},
                                                     {"tokenizer.xml", &bundle.tokenizer},
                                                     {"tokenizer.bin", &weights},
                                                     {"tokenizer.json", &bundle.vocabulary}};
  for (const auto& [file, path] : files) {
    if (absl::Status status = Resolve(root, bundle.directory, file, *path); !status.ok()) return status;
  }
  // The tokenizer's reader looks for tokenizer.bin beside the resolved tokenizer.xml, wherever that is.
  if (!bundle.tokenizer.empty() && bundle.tokenizer.parent_path() != weights.parent_path()) {
    return absl::FailedPreconditionError(
        "tokenizer.bin is not beside tokenizer.xml. Copy both files into the bundle.");
  }
  return absl::OkStatus();
}

// Reads model.yaml, if there is one.
absl::StatusOr<ModelPolicy> ReadPolicy(const fs::path& root, const fs::path& directory) {
  fs::path path;
  if (absl::Status status = Resolve(root, directory, "model.yaml", path); !status.ok()) return status;
  if (path.empty()) return ModelPolicy{};
  const std::optional<std::string> text = text::ReadSmallFile(path.string(), kMaxPolicyBytes);
  if (!text.has_value()) return absl::FailedPreconditionError("model.yaml cannot be read.");
  return ParseModelPolicy(*text);
}

void ScanModel(const fs::path& root, const std::string& name, RepositoryScan& scan) {
  std::error_code error;
  const fs::path directory = fs::canonical(root / name, error);
  if (error || !IsInside(directory, root)) {
    scan.ignored.push_back(absl::StrCat("Ignored \"", name, "\": it leads outside the model repository."));
    return;
  }
  const std::vector<std::string> entries = EntriesOf(directory, error);
  if (error) scan.ignored.push_back(absl::StrCat("Ignored part of \"", name, "\": ", error.message(), "."));
  const absl::StatusOr<ModelPolicy> policy = ReadPolicy(root, directory);
  scan.policies[name] = policy.value_or(ModelPolicy{});
  for (const std::string& entry : entries) {
    if (!fs::is_directory(directory / entry, error)) continue;
    const std::optional<int64_t> version = VersionOf(entry);
    if (!version.has_value()) {
      scan.ignored.push_back(absl::StrCat("Ignored \"", name, "/", absl::CHexEscape(entry),
                                          "\": a version is a whole number such as 1."));
      continue;
    }
    BundlePaths bundle;
    bundle.name = name;
    bundle.version = *version;
    bundle.directory = fs::canonical(directory / entry, error);
    if (error || !IsInside(bundle.directory, root)) {
      bundle.problem = absl::FailedPreconditionError(
          "The bundle leads outside the model repository. Copy the directory into it.");
    } else {
      bundle.problem = ResolveFiles(root, bundle);
      if (bundle.problem.ok()) bundle.problem = policy.status();
      std::error_code unused;
      if (fs::symlink_status(bundle.directory / "model.pt", unused).type() == fs::file_type::not_found) {
        scan.ignored.push_back(absl::StrCat("Ignored \"", name, "/", entry, "\": it has no model.pt."));
        continue;
      }
    }
    scan.bundles.push_back(std::move(bundle));
  }
}

}  // namespace

bool IsModelName(std::string_view name) {
  if (name.empty() || !absl::ascii_isalnum(static_cast<unsigned char>(name[0]))) return false;
  return std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  });
}

int64_t FileBytes(const BundlePaths& bundle) {
  std::error_code error;
  const auto bytes = static_cast<int64_t>(fs::file_size(bundle.model, error));
  return error ? 0 : bytes;
}

std::string StampOf(const BundlePaths& bundle) {
  std::string stamp;
  for (const char* file : {"model.pt", "manifest.yaml", "tokenizer.xml", "tokenizer.bin", "tokenizer.json"}) {
    std::error_code error;
    const fs::path path = bundle.directory / file;
    const uintmax_t size = fs::file_size(path, error);
    if (error) continue;
    const fs::file_time_type time = fs::last_write_time(path, error);
    absl::StrAppend(&stamp, file, " ", size, " ", time.time_since_epoch().count(), "\n");
  }
  return stamp;
}

absl::StatusOr<RepositoryScan> ScanRepository(const fs::path& repository, const std::string& only) {
  std::error_code error;
  const fs::path root = fs::canonical(repository, error);
  std::vector<std::string> names;
  if (!error) names = EntriesOf(root, error);
  if (error) {
    return absl::FailedPreconditionError(absl::StrCat("The model repository cannot be read. ",
                                                      repository.string(), ": ", error.message(),
                                                      ". Check --model-repository."));
  }
  RepositoryScan scan;
  for (const std::string& name : names) {
    if (!only.empty() && name != only) continue;
    if (!fs::is_directory(root / name, error)) continue;
    if (IsModelName(name)) {
      ScanModel(root, name, scan);
    } else {
      scan.ignored.push_back(absl::StrCat("Ignored \"", absl::CHexEscape(name),
                                          "\": a model's name is letters, digits, '.', '_' and '-'."));
    }
  }
  std::sort(scan.bundles.begin(), scan.bundles.end(), [](const BundlePaths& left, const BundlePaths& right) {
    return std::tie(left.name, left.version) < std::tie(right.name, right.version);
  });
  return scan;
}

}  // namespace attribution::models
