#include "server/models/model_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "attribution/status_details.h"

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

}  // namespace

absl::StatusOr<std::shared_ptr<const ResidentModel>> ModelStore::Find(std::string_view name,
                                                                      std::string_view version) {
  Entry entry;
  {
    const std::lock_guard lock(mutex_);
    const absl::StatusOr<int64_t> picked = Pick(name, version);
    if (!picked.ok()) return picked.status();
    Kept& kept = models_.find(name)->second.find(*picked)->second;
    kept.last_used = ++uses_;
    if (kept.entry.model != nullptr) return kept.entry.model;
    entry = kept.entry;
  }
  const std::string which = absl::StrCat("Model ", Quoted(entry.info.name), ", version ", entry.info.version);
  if (entry.info.state == ModelState::kLoading)
    return StillLoading(absl::StrCat("The model is still loading. ", which, ". Try again shortly."));
  if (entry.info.state == ModelState::kFailed) {
    return WithReason(absl::FailedPreconditionError(
                          absl::StrCat("The model failed to load. ", which, ": ", entry.info.load_error)),
                      "MODEL_LOAD_FAILED");
  }
  if (entry.on_demand) {
    int64_t number = 0;
    if (wanted_ && absl::SimpleAtoi(entry.info.version, &number)) wanted_(entry.info.name, number);
    return StillLoading(absl::StrCat("The model was unloaded for want of memory and is loaded again. ", which,
                                     ". Try again shortly."));
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
    for (const auto& [version, kept] : versions) infos.push_back(kept.entry.info);
  }
  return infos;
}

absl::StatusOr<ModelInfo> ModelStore::Get(std::string_view name, std::string_view version) const {
  const std::lock_guard lock(mutex_);
  const absl::StatusOr<int64_t> picked = Pick(name, version);
  if (!picked.ok()) return picked.status();
  return models_.find(name)->second.at(*picked).entry.info;
}

std::optional<ModelStore::Entry> ModelStore::Known(const std::string& name, int64_t version) const {
  const std::lock_guard lock(mutex_);
  const auto found = models_.find(name);
  if (found == models_.end()) return std::nullopt;
  const auto kept = found->second.find(version);
  if (kept == found->second.end()) return std::nullopt;
  return Entry{kept->second.entry.info, nullptr, kept->second.entry.on_demand};
}

std::vector<ModelStore::Resident> ModelStore::Residents() const {
  const std::lock_guard lock(mutex_);
  std::vector<Resident> residents;
  for (const auto& [name, versions] : models_) {
    for (const auto& [version, kept] : versions) {
      if (kept.entry.model == nullptr) continue;
      residents.push_back(
          {name, version, kept.entry.info.resident_bytes, kept.last_used, kept.entry.model.use_count() == 1});
    }
  }
  return residents;
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
    std::swap(models_[name][version].entry, entry);
  }
  for (const Listener& listener : listeners_) listener(info);
}

void ModelStore::Remove(const std::string& name, int64_t version) {
  Entry gone;
  const std::lock_guard lock(mutex_);
  const auto found = models_.find(name);
  if (found == models_.end()) return;
  const auto kept = found->second.find(version);
  if (kept == found->second.end()) return;
  gone = std::move(kept->second.entry);
  found->second.erase(kept);
  if (found->second.empty()) models_.erase(found);
}

absl::StatusOr<int64_t> ModelStore::Pick(std::string_view name, std::string_view version) const {
  const auto found = models_.find(name);
  if (found == models_.end()) return NoSuchModel(name);
  const Versions& versions = found->second;
  if (version.empty()) {
    const auto newest = std::find_if(versions.rbegin(), versions.rend(), [](const auto& candidate) {
      const Entry& entry = candidate.second.entry;
      return entry.info.state == ModelState::kServing || entry.on_demand;
    });
    return (newest == versions.rend() ? versions.rbegin() : newest)->first;
  }
  int64_t number = 0;
  const bool is_number = absl::SimpleAtoi(View(version), &number);
  const auto wanted = is_number ? versions.find(number) : versions.end();
  // Compared as text too: " 1" and "01" are numbers, but not the name of a version.
  if (wanted != versions.end() && wanted->second.entry.info.version == version) return number;
  std::vector<std::string> known;
  for (const auto& [known_version, kept] : versions) known.push_back(kept.entry.info.version);
  return WithReason(
      absl::NotFoundError(absl::StrCat("The model has no such version. Model ", Quoted(name), ", version ",
                                       Quoted(version), "; versions: ", Listed(std::move(known)), ".")),
      "VERSION_NOT_FOUND");
}

absl::Status ModelStore::NoSuchModel(std::string_view name) const {
  std::vector<std::string> known;
  known.reserve(models_.size());
  for (const auto& [known_name, versions] : models_) known.push_back(known_name);
  const std::string there =
      known.empty() ? "There is none" : absl::StrCat("Models: ", Listed(std::move(known)));
  return WithReason(
      absl::NotFoundError(absl::StrCat("There is no such model. Asked for ", Quoted(name), ". ", there, ".")),
      "MODEL_NOT_FOUND");
}

}  // namespace attribution::models
