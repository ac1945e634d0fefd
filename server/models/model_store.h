// ModelStore knows every version in the model repository, and holds those that are in memory.
//
// What is loaded and when is Residency's part. Thread-safe; every method answers at once. A listener is
// called by the thread that changed a state, one call at a time over all listeners, in the order of the
// changes. It may ask the store, but must not call Watch(), Set() or Remove().
#ifndef SERVER_MODELS_MODEL_STORE_H_
#define SERVER_MODELS_MODEL_STORE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "attribution/model_info.h"
#include "server/models/resident_model.h"

namespace attribution::models {

class ModelStore {
 public:
  using Listener = std::function<void(const ModelInfo& info)>;

  // What is known of one version.
  struct Entry {
    ModelInfo info;
    std::shared_ptr<const ResidentModel> model{};  // null unless kServing
    bool on_demand = false;  // kUnloaded for want of memory: the next request for it brings it back
  };

  // A version in memory.
  struct Resident {
    std::string name;
    int64_t version = 0;
    int64_t bytes = 0;      // of its parameters and buffers
    int64_t last_used = 0;  // larger is later
    bool idle = true;       // no job holds it
  };

  // Puts `entry` in place of what is known of this version, then tells the listeners.
  void Set(const std::string& name, int64_t version, Entry entry);

  // Forgets a version. The listeners are told nothing: it is kUnloaded before.
  void Remove(const std::string& name, int64_t version);

  // Calls `wanted` when a request asks for a version that is on_demand, on its thread and without the lock.
  // REQUIRES: set before the first Find().
  void SetWanted(std::function<void(const std::string& name, int64_t version)> wanted) {
    wanted_ = std::move(wanted);
  }

  // Returns a model to run. `version` is a number in decimal; empty: the newest that serves or is on demand,
  // else what the newest says.
  //   NOT_FOUND            no such model or version; names those there are.
  //   UNAVAILABLE          it is loading, or begins to; with a retry delay.
  //   FAILED_PRECONDITION  MODEL_LOAD_FAILED with the load error, or MODEL_NOT_LOADED for a version that is
  //   not in memory.
  absl::StatusOr<std::shared_ptr<const ResidentModel>> Find(std::string_view name, std::string_view version);

  // Returns every version, by name, then version.
  std::vector<ModelInfo> List() const;

  // Returns what is known of the version that Find() would pick, whatever its state. NOT_FOUND as Find().
  absl::StatusOr<ModelInfo> Get(std::string_view name, std::string_view version) const;

  // Returns what is known of a version, its model left out; nothing if it is not.
  std::optional<Entry> Known(const std::string& name, int64_t version) const;

  // Returns what is in memory.
  std::vector<Resident> Residents() const;

  // Calls `listener` for every version now, on this thread, and after every change of a state until the store
  // ends.
  void Watch(Listener listener);

 private:
  struct Kept {
    Entry entry;
    int64_t last_used = 0;
  };
  using Versions = std::map<int64_t, Kept>;

  // The version that is meant by `version`.
  absl::StatusOr<int64_t> Pick(std::string_view name, std::string_view version) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status NoSuchModel(std::string_view name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  std::function<void(const std::string& name, int64_t version)> wanted_;

  // Held while a change is made and told, so that all listeners hear all changes in one order. Taken before
  // mutex_.
  mutable std::mutex telling_ ABSL_ACQUIRED_BEFORE(mutex_);
  std::vector<Listener> listeners_ ABSL_GUARDED_BY(telling_);

  mutable std::mutex mutex_;
  std::map<std::string, Versions, std::less<>> models_ ABSL_GUARDED_BY(mutex_);
  int64_t uses_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace attribution::models

#endif  // SERVER_MODELS_MODEL_STORE_H_
