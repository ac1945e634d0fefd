// Residency decides which versions of the repository are in memory: at start, on request, by looking at the
// repository from time to time, and within a bound of memory.
//
// Its thread is the one that calls Run(): it loads one bundle after the other. Load(), Unload(), Want() and
// Stop() are for any thread and answer at once or through `done`, which is called once, from Run()'s thread
// or from the one that lets go of a model last.
//
// A version that is loaded again serves meanwhile from the copy that is there, unless that is to be freed
// first; if it fails to load, the old copy stays. Under a bound, the least recently used model that no job
// holds and that is not pinned gives way; the next request for it brings it back.
#ifndef SERVER_MODELS_RESIDENCY_H_
#define SERVER_MODELS_RESIDENCY_H_

#include <c10/core/Device.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "attribution/model_info.h"
#include "server/models/load_bundle.h"
#include "server/models/load_queue.h"
#include "server/models/model_repository.h"
#include "server/models/model_store.h"
#include "server/models/release.h"

namespace attribution::models {

struct ResidencyOptions {
  std::filesystem::path repository;
  c10::Device device = c10::Device(c10::kCPU);
  int64_t memory_budget_bytes = 0;                      // of all models together; 0: none
  absl::Duration poll_interval = absl::ZeroDuration();  // zero: the repository is looked at when asked to
  // Bytes that can be allocated on the device now. Empty: nobody asks.
  std::function<int64_t()> free_bytes;
  // Whether this device holds a model of so many bytes; see Placement. What it does not hold stays kUnloaded
  // here, and to load it does nothing. Empty: it holds all.
  std::function<bool(const std::string& name, int64_t bytes)> holds;
  // Takes a text for the log: what is ignored, evicted or not loaded, and more about a load error than
  // clients are told. May be empty.
  std::function<void(const std::string& sentence)> note;
};

class Residency {
 public:
  using Done = std::function<void(absl::StatusOr<ModelInfo>)>;

  // `store` outlives this object.
  Residency(ResidencyOptions options, ModelStore& store, ModelLoader loader);

  // Finds every version in the repository: those that are to serve are kLoading, others are kUnloaded.
  // FAILED_PRECONDITION, with the path, if the repository cannot be read. REQUIRES: called once, first.
  absl::Status Scan();

  // Loads what Scan() left to be loaded, pinned models first, then does what is asked for, and polls, until
  // Stop(). A bundle that fails is kFailed with its load_error, and the others load all the same.
  void Run();

  // Makes Run() end before the next bundle. What waits is refused with UNAVAILABLE. Idempotent.
  void Stop() { queue_.End(); }

  // Loads a version, the newest in the repository if `version` is empty; `done` gets it once it serves. A
  // version that serves with the same sha256 stays, unless options.force.
  //   NOT_FOUND            no such model or version; the repository is looked at again before.
  //   FAILED_PRECONDITION  MODEL_LOAD_FAILED with the load error; MODEL_NEVER_FITS.
  //   RESOURCE_EXHAUSTED   MODEL_MEMORY_FULL: it does not fit beside what is there.
  //   UNAVAILABLE          the server stops.
  void Load(const std::string& name, const std::string& version, LoadModelOptions options, const Done& done);

  // Takes a version out of memory; `done` gets it once the last job that uses it has ended and its memory is
  // free. It stays out until it is loaded by name. Nothing happens to one that is not in memory. NOT_FOUND
  // and UNAVAILABLE as Load().
  void Unload(const std::string& name, const std::string& version, const Done& done);

  // Brings back a version that was evicted, if there is room.
  void Want(const std::string& name, int64_t version);

  // What Run() does, for tests without its thread: everything that waits, and one look at the repository.
  void RunAll();
  void Poll();

 private:
  using Key = std::pair<std::string, int64_t>;

  // What is remembered of a version. Used by Run()'s thread alone.
  struct Memory {
    bool asked = false;      // loaded by name: stays, whatever the policy says
    bool dismissed = false;  // unloaded by name: does not come back by itself
    std::string seen_stamp;  // of its files, when the repository was last looked at
    std::string load_stamp;  // when it was last loaded, or failed to
    int64_t bytes = 0;       // that it took when it was in memory; 0: never was
    std::shared_ptr<Release> release;
  };

  // One wish to have a bundle in memory.
  struct Wish {
    BundlePaths bundle;
    LoadModelOptions options;
    bool by_name = false;
    bool may_evict = true;
    Done done;
  };

  void LoadNow(const std::string& name, const std::string& version, LoadModelOptions options,
               const Done& done);
  void UnloadNow(const std::string& name, const std::string& version, const Done& done);
  // Loads the bundle, if it is not what serves already.
  void Grant(Wish wish);
  // Loads the bundle in any case. `serves`: its old copy serves meanwhile.
  void Bring(const Wish& wish, bool serves);
  // Tells that the bundle cannot be had. Its version is what it was, unless that is kLoading: then it is
  // kUnloaded if `status` may pass, else kFailed.
  void Fail(const Wish& wish, bool serves, const absl::Status& status, double load_seconds = 0);
  void TakeOut(const Key& key, bool on_demand, std::function<void()> then = nullptr);
  // Makes room for `bytes` more by evicting others.
  absl::Status MakeRoom(const Key& key, int64_t bytes, bool may_evict);
  // Unloads versions that serve beside those that the policy wants.
  void ApplyPolicy(const std::string& name);
  absl::StatusOr<BundlePaths> FindBundle(const std::string& name, const std::string& version);
  // Puts versions that are new into the store.
  void Learn(const RepositoryScan& scan);
  void PollBundle(const BundlePaths& bundle, bool is_wanted);
  bool Holds(const BundlePaths& bundle) const;
  void Note(const std::string& sentence) const;

  const ResidencyOptions options_;
  ModelStore& store_;
  const ModelLoader loader_;
  LoadQueue queue_;

  std::map<Key, Memory> memories_;
  std::map<std::string, ModelPolicy> policies_;
  std::map<std::string, std::vector<int64_t>> on_disk_;  // versions, when the repository was last looked at

  std::mutex mutex_;
  std::set<Key> wanted_ ABSL_GUARDED_BY(mutex_);  // by Want(), and not yet granted
};

}  // namespace attribution::models

#endif  // SERVER_MODELS_RESIDENCY_H_
