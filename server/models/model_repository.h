// Finds the bundles of a model repository: <repository>/<name>/<integer version>/model.pt and the files
// beside it.
//
// Pure functions on the file system; safe from any thread. Nothing outside the repository is opened: a file
// counts only if the place it leads to, symbolic links resolved, is a regular file inside. The files are
// opened by path later, so whoever may write into the repository is trusted not to swap them meanwhile; a
// TorchScript file is code anyway.
#ifndef SERVER_MODELS_MODEL_REPOSITORY_H_
#define SERVER_MODELS_MODEL_REPOSITORY_H_

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/models/model_policy.h"

namespace attribution::models {

// One version of a model on disk. Paths are absolute and free of symbolic links; one that is empty: no such
// file.
struct BundlePaths {
  std::string name;
  int64_t version = 0;
  std::filesystem::path directory;
  std::filesystem::path model;       // model.pt
  std::filesystem::path manifest;    // manifest.yaml
  std::filesystem::path tokenizer;   // tokenizer.xml; tokenizer.bin is beside it
  std::filesystem::path vocabulary;  // tokenizer.json
  absl::Status problem;              // why this bundle must not be opened; names no path
};

struct RepositoryScan {
  std::vector<BundlePaths> bundles;             // by name, then version
  std::map<std::string, ModelPolicy> policies;  // of every model with a bundle
  std::vector<std::string> ignored;  // a sentence for the log for every directory that looks like a mistake
};

// Whether `name` can name a model: [A-Za-z0-9][A-Za-z0-9._-]*.
bool IsModelName(std::string_view name);

// Size of model.pt; about what its parameters take in memory. 0 if it cannot be told.
int64_t FileBytes(const BundlePaths& bundle);

// Tells whether a bundle's files have changed: their sizes and times of change.
std::string StampOf(const BundlePaths& bundle);

// Lists the bundles, of one model alone if `only` is not empty. Hidden directories and versions without
// model.pt (half copied) are not bundles. A bundle with a file that leads outside or is not a regular file
// has a `problem`; the others are unharmed. So do all bundles of a model whose model.yaml is not valid.
// FAILED_PRECONDITION, with the path, if the repository itself is no directory that can be read.
absl::StatusOr<RepositoryScan> ScanRepository(const std::filesystem::path& repository,
                                              const std::string& only = "");

}  // namespace attribution::models

#endif  // SERVER_MODELS_MODEL_REPOSITORY_H_
