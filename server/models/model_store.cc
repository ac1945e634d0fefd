#include "server/models/model_store.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "attribution/status_details.h"
#include "server/models/model_repository.h"

namespace attribution::models {
namespace {

// When a client should ask again for a model that is loading. A small model takes less than 2 s.
constexpr absl::Duration kRetryDelay = absl::Seconds(1);

// How many names a message lists at most.
constexpr size_t kMaxNamesListed = 20;

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

std::string Quoted(std::string_view text) {
  return absl::StrCat("\"", absl::CHexEscape(View(text.substr(0, 128))), "\"");
}

std::string Listed(std::vector<std::string> names) {
  const size_t more = names.size() - std::min(names.size(), kMaxNamesListed);
  names.resize(names.size() - more);
  return more == 0 ? absl::StrJoin(names, ", ")
                   : absl::StrCat(absl::StrJoin(names, ", "), " and ", more, " more");
}

absl::Status StillLoading(const std::string& message) {
  return WithRetryDelay(WithReason(absl::UnavailableError(message), "MODEL_LOADING"), kRetryDelay);
}

ModelInfo InfoOf(const BundlePaths& bundle, ModelState state) {
  ModelInfo info;
  info.name = bundle.name;
  info.version = absl::StrCat(bundle.version);
  info.state = state;
  return info;
}

}  // namespace

ModelStore::ModelStore(ModelStoreOptions options, ModelLoader loader)
    : options_(std::move(options)), loader_(std::move(loader)) {}

absl::Status ModelStore::Scan() {
  absl::StatusOr<RepositoryScan> scan = ScanRepository(options_.repository);
  if (!scan.ok()) return scan.status();
  for (const std::string& sentence : scan->ignored) {
    if (options_.note) options_.note(sentence);
  }
  for (size_t i = 0; i < scan->bundles.size(); ++i) {
    const BundlePaths& bundle = scan->bundles[i];
    const bool last = i + 1 == scan->bundles.size() || scan->bundles[i + 1].name != bundle.name;
    if (last) to_load_.push_back(bundle);
    Set(bundle.name, bundle.version,
        Entry{InfoOf(bundle, last ? ModelState::kLoading : ModelState::kUnloaded), nullptr});
  }
  return absl::OkStatus();
}

void ModelStore::LoadAll() {
  for (const BundlePaths& bundle : to_load_) {
    if (stop_loading_) return;
    const absl::Time start = absl::Now();
    absl::StatusOr<std::shared_ptr<const ResidentModel>> model = LoadBundle(bundle, options_.device, loader_);
    Entry entry;
    if (model.ok()) {
      entry = Entry{(*model)->info(), *model};
    } else {
      entry.info = InfoOf(bundle, ModelState::kFailed);
      entry.info.load_error = std::string(model.status().message());
      const std::optional<std::string> detail = LogDetailOf(model.status());
      if (detail.has_value() && options_.note) {
        options_.note(absl::StrCat("Model ", Quoted(bundle.name), ", version ", bundle.version,
                                   " failed to load: ", *detail));
      }
    }
    entry.info.load_seconds = absl::ToDoubleSeconds(absl::Now() - start);
    Set(bundle.name, bundle.version, std::move(entry));
  }
}

absl::StatusOr<std::shared_ptr<const ResidentModel>> ModelStore::Find(std::string_view name,
                                                                      std::string_view version) const {
  const absl::StatusOr<Entry> entry = Pick(name, version);
  if (!entry.ok()) return entry.status();
  const std::string which =
      absl::StrCat("Model ", Quoted(entry->info.name), ", version ", entry->info.version);
  switch (entry->info.state) {
    case ModelState::kServing:
      return entry->model;
    case ModelState::kLoading:
      return StillLoading(absl::StrCat("The model is still loading. ", which, ". Try again shortly."));
    case ModelState::kFailed:
      return WithReason(absl::FailedPreconditionError(
                            absl::StrCat("The model failed to load. ", which, ": ", entry->info.load_error)),
                        "MODEL_LOAD_FAILED");
    case ModelState::kUnloaded:
      break;
  }
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat("The version is not loaded. ", which,
                                                 ". Leave the version empty for the one that serves.")),
      "MODEL_NOT_LOADED");
}

std::vector<ModelInfo> ModelStore::List() const {
  const std::lock_guard lock(mutex_);
  std::vector<ModelInfo> infos;
  for (const auto& [name, versions] : models_) {
    for (const auto& [version, entry] : versions) infos.push_back(entry.info);
  }
  return infos;
}

absl::StatusOr<ModelInfo> ModelStore::Get(std::string_view name, std::string_view version) const {
  absl::StatusOr<Entry> entry = Pick(name, version);
  if (!entry.ok()) return entry.status();
  return std::move(entry->info);
}

void ModelStore::Watch(Listener listener) {
  const std::lock_guard telling(telling_);
  for (const ModelInfo& info : List()) listener(info);
  listeners_.push_back(std::move(listener));
}

void ModelStore::Set(const std::string& name, int64_t version, Entry entry) {
  const std::lock_guard telling(telling_);
  const ModelInfo info = entry.info;
  {
    const std::lock_guard lock(mutex_);
    // Swapped, so that a model that is replaced is freed after the lock is.
    std::swap(models_[name][version], entry);
  }
  for (const Listener& listener : listeners_) listener(info);
}

absl::StatusOr<ModelStore::Entry> ModelStore::Pick(std::string_view name, std::string_view version) const {
  const std::lock_guard lock(mutex_);
  const auto found = models_.find(name);
  if (found == models_.end()) return NoSuchModel(name);
  const Versions& versions = found->second;
  if (version.empty()) {
    const auto newest_serving = std::find_if(versions.rbegin(), versions.rend(), [](const auto& candidate) {
      return candidate.second.info.state == ModelState::kServing;
    });
    return (newest_serving == versions.rend() ? versions.rbegin() : newest_serving)->second;
  }
  int64_t number = 0;
  const bool is_number = absl::SimpleAtoi(View(version), &number);
  const auto wanted = is_number ? versions.find(number) : versions.end();
  // Compared as text too: " 1" and "01" are numbers, but not the name of a version.
  if (wanted != versions.end() && wanted->second.info.version == version) return wanted->second;
  std::vector<std::string> known;
  for (const auto& [known_version, entry] : versions) known.push_back(entry.info.version);
  return WithReason(
      absl::NotFoundError(absl::StrCat("The model has no such version. Model ", Quoted(name), ", version ",
                                       Quoted(version), "; versions: ", Listed(std::move(known)), ".")),
      "VERSION_NOT_FOUND");
}

absl::Status ModelStore::NoSuchModel(std::string_view name) const {
  std::vector<std::string> known;
  for (const auto& [known_name, versions] : models_) known.push_back(known_name);
  const std::string there =
      known.empty() ? "There is none" : absl::StrCat("Models: ", Listed(std::move(known)));
  return WithReason(
      absl::NotFoundError(absl::StrCat("There is no such model. Asked for ", Quoted(name), ". ", there, ".")),
      "MODEL_NOT_FOUND");
}

}  // namespace attribution::models
