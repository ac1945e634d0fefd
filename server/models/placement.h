// Placement says which of several devices hold which model, by the memory that each has for models.
//
// If every device has room for all models, each holds all. Otherwise the largest model comes first, each on
// the device that has the most room left; what room is left then takes copies, the smallest model first, so
// that as many models as can be are served by several devices. A model that comes later goes where the most
// room is. A model stays where it was placed.
#ifndef SERVER_MODELS_PLACEMENT_H_
#define SERVER_MODELS_PLACEMENT_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/models/model_repository.h"

namespace attribution::models {

// Devices by their number.
using Devices = std::set<size_t>;

// Thread-safe.
class Placement {
 public:
  // Places models of known size, in bytes. `rooms`: what each device has for models. REQUIRES: at least one
  // device.
  Placement(const std::map<std::string, int64_t>& model_bytes, std::vector<int64_t> rooms);

  // Whether the device holds the model; one that was never heard of is placed now.
  bool Holds(size_t device, const std::string& name, int64_t bytes);

 private:
  size_t Roomiest() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Put(const std::string& name, int64_t bytes, size_t device) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  std::mutex mutex_;
  std::vector<int64_t> rooms_ ABSL_GUARDED_BY(mutex_);  // left; below 0 where a model did not fit
  std::map<std::string, Devices> places_ ABSL_GUARDED_BY(mutex_);
};

// The models of a repository, each with the bytes of its largest model.pt.
std::map<std::string, int64_t> ModelBytes(const RepositoryScan& scan);

}  // namespace attribution::models

#endif  // SERVER_MODELS_PLACEMENT_H_
