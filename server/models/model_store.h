// ModelStore knows every version in the model repository and keeps the newest of each model in memory.
//
// Thread-safe. Loading runs on the thread that calls LoadAll(); the other methods answer at once meanwhile.
// A listener is called by the thread that changed a state, one call at a time over all listeners, in the
// order of the changes. It may ask the store, but must not call Watch() or LoadAll().
#ifndef SERVER_MODELS_MODEL_STORE_H_
#define SERVER_MODELS_MODEL_STORE_H_

#include <c10/core/Device.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "attribution/model_info.h"
#include "server/models/load_bundle.h"
#include "server/models/resident_model.h"

namespace attribution::models {

struct ModelStoreOptions {
  std::filesystem::path repository;
  c10::Device device = c10::Device(c10::kCPU);
  // Takes a text for the log: a directory of the repository that is ignored, or more about a load error than
  // clients are told. May be empty.
  std::function<void(const std::string& sentence)> note;
};

class ModelStore {
 public:
  using Listener = std::function<void(const ModelInfo& info)>;

  ModelStore(ModelStoreOptions options, ModelLoader loader);

  // Finds every version in the repository: the newest of each model is kLoading, older ones are kUnloaded.
  // FAILED_PRECONDITION, with the path, if the repository cannot be read. REQUIRES: called once, first.
  absl::Status Scan();

  // Loads what Scan() left to be loaded, by name, and returns when every bundle has loaded or failed. A
  // bundle that fails is kFailed with its load_error, and the others load all the same. REQUIRES: called
  // once.
  void LoadAll();

  // Makes LoadAll() end before the next bundle; what was left is not told. Any thread.
  void StopLoading() { stop_loading_ = true; }

  // Returns a model to run. `version` is a number in decimal; empty: the newest that serves, else what the
  // newest says.
  //   NOT_FOUND            no such model or version; names those there are.
  //   UNAVAILABLE          it is loading; with a retry delay.
  //   FAILED_PRECONDITION  MODEL_LOAD_FAILED with the load error, or MODEL_NOT_LOADED for a version that is
  //   not in memory.
  absl::StatusOr<std::shared_ptr<const ResidentModel>> Find(std::string_view name,
                                                            std::string_view version) const;

  // Returns every version, by name, then version.
  std::vector<ModelInfo> List() const;

  // Returns what is known of the version that Find() would pick, whatever its state. NOT_FOUND as
  // Find().
  absl::StatusOr<ModelInfo> Get(std::string_view name, std::string_view version) const;

  // Calls `listener` for every version now, on this thread, and after every change of a state until the store
  // ends.
  void Watch(Listener listener);

 private:
  struct Entry {
    ModelInfo info;
    std::shared_ptr<const ResidentModel> model;  // null unless kServing
  };
  using Versions = std::map<int64_t, Entry>;

  // Puts `entry` in place of what is known of this version, then tells the listeners.
  void Set(const std::string& name, int64_t version, Entry entry);

  absl::StatusOr<Entry> Pick(std::string_view name, std::string_view version) const;
  absl::Status NoSuchModel(std::string_view name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ModelStoreOptions options_;
  const ModelLoader loader_;
  std::atomic<bool> stop_loading_ = false;
  std::vector<BundlePaths> to_load_;  // by Scan(), for LoadAll()

  // Held while a change is made and told, so that all listeners hear all changes in one order. Taken before
  // mutex_.
  mutable std::mutex telling_ ABSL_ACQUIRED_BEFORE(mutex_);
  std::vector<Listener> listeners_ ABSL_GUARDED_BY(telling_);

  mutable std::mutex mutex_;
  std::map<std::string, Versions, std::less<>> models_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace attribution::models

#endif  // SERVER_MODELS_MODEL_STORE_H_
