// Release tells when the last holder of a model has let go of it and its memory is free.
//
// Thread-safe.
#ifndef SERVER_MODELS_RELEASE_H_
#define SERVER_MODELS_RELEASE_H_

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/models/resident_model.h"

namespace attribution::models {

class Release {
 public:
  // Returns a handle to `model` that tells `release` when its last copy is gone. REQUIRES: `model` is the
  // only one.
  static std::shared_ptr<const ResidentModel> Track(std::shared_ptr<const ResidentModel> model,
                                                    std::shared_ptr<Release> release);

  // Calls `then` once the model is freed, on the thread that let go of it; now if it is.
  void Then(std::function<void()> then);

 private:
  void Freed();

  std::mutex mutex_;
  bool freed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::function<void()>> then_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace attribution::models

#endif  // SERVER_MODELS_RELEASE_H_
