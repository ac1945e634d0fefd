#include "server/models/residency.h"

#include <algorithm>
#include <optional>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "attribution/status_details.h"
#include "server/models/sha256.h"

namespace attribution::models {
namespace {

std::string Which(const BundlePaths& bundle) {
  return absl::StrCat("Model \"", bundle.name, "\", version ", bundle.version);
}

ModelInfo InfoOf(const std::string& name, int64_t version, ModelState state) {
  ModelInfo info;
  info.name = name;
  info.version = absl::StrCat(version);
  info.state = state;
  return info;
}

bool Serves(const std::optional<ModelStore::Entry>& entry) {
  return entry.has_value() && entry->info.state == ModelState::kServing;
}

absl::Status NeverFits(int64_t bytes, int64_t budget_bytes) {
  return WithReason(absl::FailedPreconditionError(absl::StrCat(
                        "The model can never fit. It needs ", bytes, " bytes, all models together may have ",
                        budget_bytes, ". Raise --model-memory-budget.")),
                    "MODEL_NEVER_FITS",
                    {{"needed_bytes", absl::StrCat(bytes)}, {"budget_bytes", absl::StrCat(budget_bytes)}});
}

absl::Status DoesNotFit(int64_t bytes, int64_t free_bytes) {
  return WithRetryDelay(
      WithReason(
          absl::ResourceExhaustedError(absl::StrCat(
              "The model does not fit beside those in memory. It needs ", bytes, " bytes, ", free_bytes,
              " are free. Unload another, or reload with unload_first, which frees the old copy before.")),
          "MODEL_MEMORY_FULL",
          {{"needed_bytes", absl::StrCat(bytes)}, {"free_bytes", absl::StrCat(free_bytes)}}),
      absl::Seconds(5));
}

absl::Status LoadFailed(const BundlePaths& bundle, const absl::Status& error) {
  return WithReason(absl::FailedPreconditionError(
                        absl::StrCat("The model failed to load. ", Which(bundle), ": ", error.message())),
                    "MODEL_LOAD_FAILED");
}

std::vector<int64_t> VersionsOf(const RepositoryScan& scan, const std::string& name) {
  std::vector<int64_t> versions;
  for (const BundlePaths& bundle : scan.bundles) {
    if (bundle.name == name) versions.push_back(bundle.version);
  }
  return versions;
}

std::set<std::pair<std::string, int64_t>> Wanted(const RepositoryScan& scan) {
  std::set<std::pair<std::string, int64_t>> wanted;
  for (const auto& [name, policy] : scan.policies) {
    for (const int64_t version : WantedVersions(policy, VersionsOf(scan, name)))
      wanted.insert({name, version});
  }
  return wanted;
}

}  // namespace

Residency::Residency(ResidencyOptions options, ModelStore& store, ModelLoader loader)
    : options_(std::move(options)), store_(store), loader_(std::move(loader)) {
  store_.SetWanted([this](const std::string& name, int64_t version) { Want(name, version); });
}

void Residency::Note(const std::string& sentence) const {
  if (options_.note) options_.note(sentence);
}

bool Residency::Holds(const BundlePaths& bundle) const {
  return !options_.holds || options_.holds(bundle.name, FileBytes(bundle));
}

absl::Status Residency::Scan() {
  const absl::StatusOr<RepositoryScan> scan = ScanRepository(options_.repository);
  if (!scan.ok()) return scan.status();
  for (const std::string& sentence : scan->ignored) Note(sentence);
  for (const auto& [name, policy] : scan->policies) on_disk_[name] = VersionsOf(*scan, name);
  policies_ = scan->policies;
  const auto wanted = Wanted(*scan);
  for (const bool pinned : {true, false}) {
    for (const BundlePaths& bundle : scan->bundles) {
      if (policies_[bundle.name].pinned != pinned) continue;
      const Key key = {bundle.name, bundle.version};
      memories_[key].seen_stamp = StampOf(bundle);
      const bool is_wanted = wanted.contains(key) && Holds(bundle);
      store_.Set(
          bundle.name, bundle.version,
          {InfoOf(bundle.name, bundle.version, is_wanted ? ModelState::kLoading : ModelState::kUnloaded)});
      if (!is_wanted) continue;
      Wish wish{bundle, {}, /*by_name=*/false, /*may_evict=*/false, [](const absl::StatusOr<ModelInfo>&) {}};
      queue_.Push(
          {[this, wish = std::move(wish)] { Bring(wish, /*serves=*/false); }, [](const absl::Status&) {}});
    }
  }
  return absl::OkStatus();
}

void Residency::Run() {
  const bool polls = options_.poll_interval > absl::ZeroDuration();
  absl::Time next_poll = polls ? absl::Now() + options_.poll_interval : absl::InfiniteFuture();
  while (queue_.Wait(next_poll - absl::Now())) {
    (void)queue_.RunNext();
    if (absl::Now() < next_poll) continue;
    Poll();
    next_poll = absl::Now() + options_.poll_interval;
  }
}

void Residency::RunAll() {
  while (queue_.RunNext()) {
  }
}

void Residency::Load(const std::string& name, const std::string& version, LoadModelOptions options,
                     const Done& done) {
  queue_.Push({[=, this] { LoadNow(name, version, options, done); }, done});
}

void Residency::Unload(const std::string& name, const std::string& version, const Done& done) {
  queue_.Push({[=, this] { UnloadNow(name, version, done); }, done});
}

void Residency::Want(const std::string& name, int64_t version) {
  {
    const std::lock_guard lock(mutex_);
    if (!wanted_.insert({name, version}).second) return;
  }
  const auto granted = [this, name, version](const absl::StatusOr<ModelInfo>&) {
    const std::lock_guard lock(mutex_);
    wanted_.erase({name, version});
  };
  queue_.Push({[this, name, version, granted] {
                 const absl::StatusOr<BundlePaths> bundle = FindBundle(name, absl::StrCat(version));
                 if (!bundle.ok()) return granted(bundle.status());
                 Grant({*bundle, {}, /*by_name=*/false, /*may_evict=*/true, granted});
               },
               granted});
}

void Residency::LoadNow(const std::string& name, const std::string& version, LoadModelOptions options,
                        const Done& done) {
  const absl::StatusOr<BundlePaths> bundle = FindBundle(name, version);
  if (!bundle.ok()) return done(bundle.status());
  if (!Holds(*bundle)) return done(store_.Get(name, absl::StrCat(bundle->version)));
  Grant({*bundle, options, /*by_name=*/!version.empty(), /*may_evict=*/true, done});
}

absl::StatusOr<BundlePaths> Residency::FindBundle(const std::string& name, const std::string& version) {
  absl::StatusOr<RepositoryScan> scan = RepositoryScan{};
  if (IsModelName(name)) scan = ScanRepository(options_.repository, name);
  if (!scan.ok()) return scan.status();
  Learn(*scan);
  if (version.empty() && !scan->bundles.empty()) return scan->bundles.back();
  const absl::StatusOr<ModelInfo> info = store_.Get(name, version);
  if (!info.ok()) return info.status();
  const auto bundle = std::find_if(
      scan->bundles.begin(), scan->bundles.end(),
      [&info](const BundlePaths& candidate) { return absl::StrCat(candidate.version) == info->version; });
  if (bundle != scan->bundles.end()) return *bundle;
  return WithReason(absl::NotFoundError(absl::StrCat("The version is no longer in the repository. Model \"",
                                                     name, "\", version ", info->version, ".")),
                    "VERSION_NOT_FOUND");
}

void Residency::Learn(const RepositoryScan& scan) {
  for (const auto& [name, policy] : scan.policies) {
    policies_[name] = policy;
    on_disk_[name] = VersionsOf(scan, name);
  }
  for (const BundlePaths& bundle : scan.bundles) {
    if (store_.Known(bundle.name, bundle.version).has_value()) continue;
    store_.Set(bundle.name, bundle.version, {InfoOf(bundle.name, bundle.version, ModelState::kUnloaded)});
  }
}

void Residency::Grant(Wish wish) {
  const Key key = {wish.bundle.name, wish.bundle.version};
  Memory& memory = memories_[key];
  const std::optional<ModelStore::Entry> entry = store_.Known(key.first, key.second);
  const bool serves = Serves(entry);
  if (serves && !wish.options.force) {
    const absl::StatusOr<std::string> sha256 = Sha256OfFile(wish.bundle.model);
    if (wish.bundle.problem.ok() && sha256.ok() && *sha256 == entry->info.sha256) {
      memory.load_stamp = StampOf(wish.bundle);
      memory.asked = memory.asked || wish.by_name;
      return wish.done(entry->info);
    }
  }
  if (!serves || !wish.options.unload_first) return Bring(wish, serves);
  const std::shared_ptr<Release> release = memory.release;
  store_.Set(key.first, key.second, {InfoOf(key.first, key.second, ModelState::kLoading)});
  release->Then([this, wish = std::move(wish)] {
    queue_.Push({[this, wish] { Bring(wish, /*serves=*/false); }, wish.done});
  });
}

void Residency::Bring(const Wish& wish, bool serves) {
  const Key key = {wish.bundle.name, wish.bundle.version};
  Memory& memory = memories_[key];
  memory.load_stamp = StampOf(wish.bundle);
  const int64_t expected = std::max(FileBytes(wish.bundle), memory.bytes);
  if (absl::Status status = MakeRoom(key, expected, wish.may_evict); !status.ok())
    return Fail(wish, serves, status);
  const std::optional<ModelStore::Entry> before = store_.Known(key.first, key.second);
  if (!serves && (!before.has_value() || before->info.state != ModelState::kLoading))
    store_.Set(key.first, key.second, {InfoOf(key.first, key.second, ModelState::kLoading)});
  const absl::Time start = absl::Now();
  absl::StatusOr<std::shared_ptr<const ResidentModel>> model = absl::UnknownError("not loaded");
  const auto load = [&] { model = LoadBundle(wish.bundle, options_.device, loader_); };
  // At start on threads that end: OpenMP keeps a team for each thread that has computed, and with more of
  // them than cores it puts those of the workers to sleep at every barrier, which doubles the time of a small
  // request. Later on this thread: what libraries keep for each new thread would add up over many reloads.
  if (wish.may_evict) {
    load();
  } else {
    std::thread(load).join();
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  if (!model.ok()) {
    const std::optional<std::string> detail = LogDetailOf(model.status());
    if (detail.has_value()) Note(absl::StrCat(Which(wish.bundle), " failed to load: ", *detail));
    return Fail(wish, serves, model.status(), seconds);
  }
  ModelStore::Entry entry{(*model)->info(), nullptr};
  entry.info.load_seconds = seconds;
  memory.bytes = entry.info.resident_bytes;
  if (memory.bytes > expected) {
    if (absl::Status status = MakeRoom(key, memory.bytes, wish.may_evict); !status.ok())
      return Fail(wish, serves, status);
  }
  memory.asked = memory.asked || wish.by_name;
  memory.dismissed = false;
  memory.release = std::make_shared<Release>();
  entry.model = Release::Track(*std::move(model), memory.release);
  const ModelInfo info = entry.info;
  store_.Set(key.first, key.second, std::move(entry));
  ApplyPolicy(key.first);
  wish.done(info);
}

void Residency::Fail(const Wish& wish, bool serves, const absl::Status& status, double load_seconds) {
  const bool is_full = absl::IsResourceExhausted(status);
  if (serves || is_full)
    Note(absl::StrCat(Which(wish.bundle),
                      serves ? " is not replaced: " : " is not loaded: ", status.message()));
  const std::optional<ModelStore::Entry> entry = store_.Known(wish.bundle.name, wish.bundle.version);
  if (!serves && is_full) {
    ModelStore::Entry out{InfoOf(wish.bundle.name, wish.bundle.version, ModelState::kUnloaded)};
    out.on_demand = !wish.by_name || (entry.has_value() && entry->on_demand);
    store_.Set(wish.bundle.name, wish.bundle.version, std::move(out));
  } else if (!serves) {
    ModelStore::Entry failed{InfoOf(wish.bundle.name, wish.bundle.version, ModelState::kFailed)};
    failed.info.load_error = std::string(status.message());
    failed.info.load_seconds = load_seconds;
    store_.Set(wish.bundle.name, wish.bundle.version, std::move(failed));
  }
  const bool has_reason = ReasonOf(status).has_value();
  wish.done(has_reason ? status : LoadFailed(wish.bundle, status));
}

void Residency::UnloadNow(const std::string& name, const std::string& version, const Done& done) {
  const absl::StatusOr<ModelInfo> info = store_.Get(name, version);
  if (!info.ok()) return done(info.status());
  const auto memory = std::find_if(memories_.begin(), memories_.end(), [&](const auto& candidate) {
    return candidate.first.first == name && absl::StrCat(candidate.first.second) == info->version;
  });
  if (memory == memories_.end()) return done(*info);  // found by LoadModel or a poll, never loaded
  memory->second.dismissed = true;
  memory->second.asked = false;
  TakeOut(memory->first, /*on_demand=*/false,
          [done, name, key = memory->first] { done(InfoOf(name, key.second, ModelState::kUnloaded)); });
}

void Residency::TakeOut(const Key& key, bool on_demand, std::function<void()> then) {
  std::shared_ptr<Release> release;
  if (Serves(store_.Known(key.first, key.second))) release = memories_[key].release;
  ModelStore::Entry out{InfoOf(key.first, key.second, ModelState::kUnloaded)};
  out.on_demand = on_demand;
  store_.Set(key.first, key.second, std::move(out));
  if (then == nullptr) return;
  if (release == nullptr) return then();
  release->Then(std::move(then));
}

absl::Status Residency::MakeRoom(const Key& key, int64_t bytes, bool may_evict) {
  const int64_t budget = options_.memory_budget_bytes;
  if (budget == 0) {
    const int64_t free = options_.free_bytes ? options_.free_bytes() : bytes;
    return bytes <= free ? absl::OkStatus() : DoesNotFit(bytes, free);
  }
  if (bytes > budget) return NeverFits(bytes, budget);
  std::vector<ModelStore::Resident> residents = store_.Residents();
  std::sort(residents.begin(), residents.end(),
            [](const auto& left, const auto& right) { return left.last_used < right.last_used; });
  int64_t used = 0;
  int64_t evictable = 0;
  const auto may_go = [&](const ModelStore::Resident& resident) {
    return may_evict && resident.idle && !policies_[resident.name].pinned &&
           Key(resident.name, resident.version) != key;
  };
  for (const ModelStore::Resident& resident : residents) {
    used += resident.bytes;
    if (may_go(resident)) evictable += resident.bytes;
  }
  // Nobody goes if that would not help.
  if (used - evictable + bytes > budget) return DoesNotFit(bytes, budget - used);
  for (const ModelStore::Resident& resident : residents) {
    if (used + bytes <= budget) break;
    if (!may_go(resident)) continue;
    Note(absl::StrCat("Model \"", resident.name, "\", version ", resident.version,
                      " is evicted: another needs its memory, and it was used least recently."));
    TakeOut({resident.name, resident.version}, /*on_demand=*/true);
    used -= resident.bytes;
  }
  return absl::OkStatus();
}

void Residency::ApplyPolicy(const std::string& name) {
  std::set<int64_t> serving;
  for (const ModelStore::Resident& resident : store_.Residents()) {
    if (resident.name == name) serving.insert(resident.version);
  }
  const std::set<int64_t> wanted = WantedVersions(policies_[name], on_disk_[name]);
  const bool any = std::any_of(wanted.begin(), wanted.end(),
                               [&serving](int64_t version) { return serving.contains(version); });
  if (!any) return;
  for (const int64_t version : serving) {
    Memory& memory = memories_[{name, version}];
    if (wanted.contains(version) || memory.asked) continue;
    memory.load_stamp.clear();  // it comes back if the policy wants it again
    TakeOut({name, version}, /*on_demand=*/false);
  }
}

// What was copied only in part is left alone: a bundle counts once its files are the same at two looks.
void Residency::Poll() {
  const absl::StatusOr<RepositoryScan> scan = ScanRepository(options_.repository);
  if (!scan.ok()) return Note(absl::StrCat("The repository is not looked at: ", scan.status().message()));
  Learn(*scan);
  const auto wanted = Wanted(*scan);
  std::set<Key> there;
  for (const BundlePaths& bundle : scan->bundles) {
    const Key key = {bundle.name, bundle.version};
    there.insert(key);
    if (queue_.has_ended()) return;
    PollBundle(bundle, wanted.contains(key) && Holds(bundle));
  }
  for (const ModelInfo& info : store_.List()) {
    const Key key = {info.name, std::stoll(info.version)};
    if (there.contains(key)) continue;
    TakeOut(key, /*on_demand=*/false);
    store_.Remove(key.first, key.second);
    memories_.erase(key);
  }
}

void Residency::PollBundle(const BundlePaths& bundle, bool is_wanted) {
  Memory& memory = memories_[{bundle.name, bundle.version}];
  std::string stamp = StampOf(bundle);
  const bool is_settled = stamp == memory.seen_stamp;
  memory.seen_stamp = std::move(stamp);
  if (!is_settled || memory.dismissed || memory.seen_stamp == memory.load_stamp) return;
  if (!is_wanted && !Serves(store_.Known(bundle.name, bundle.version))) return;
  Grant({bundle, {}, /*by_name=*/false, /*may_evict=*/true, [](const absl::StatusOr<ModelInfo>&) {}});
}

}  // namespace attribution::models
