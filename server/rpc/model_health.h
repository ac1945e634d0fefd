// ModelHealth follows the states of models and devices and sets the health that they mean.
//
// `model/<name>` serves while one of its versions does. The server as a whole ("" and its services) serves
// from the moment when no version found at start is loading any more, whether it loaded or failed, until
// Stop(). `liveness` serves while every device computes. Thread-safe.
#ifndef SERVER_RPC_MODEL_HEALTH_H_
#define SERVER_RPC_MODEL_HEALTH_H_

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "attribution/engine.h"
#include "attribution/model_info.h"
#include "server/rpc/health.h"

namespace attribution::rpc {

class ModelHealth {
 public:
  // Sets `liveness` to serving, and "" and `services` to not serving.
  ModelHealth(std::shared_ptr<HealthStatuses> statuses, std::vector<std::string> services);

  // Takes the state of a version.
  void OnModel(const ModelInfo& model);

  // Takes the state of a device.
  void OnDevice(const DeviceState& device);

  // Says that every version found at start has been told to OnModel() once.
  void AllKnown();

  // Sets every name but `liveness` to not serving, for good.
  void Stop();

 private:
  void Update() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<HealthStatuses> statuses_;
  const std::vector<std::string> services_;
  std::mutex mutex_;
  std::map<std::string, std::map<std::string, ModelState>> versions_
      ABSL_GUARDED_BY(mutex_);  // by name, version
  std::set<std::string> ill_devices_ ABSL_GUARDED_BY(mutex_);
  bool all_known_ ABSL_GUARDED_BY(mutex_) = false;
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;  // stays once true: a later reload is that model's affair
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace attribution::rpc

#endif  // SERVER_RPC_MODEL_HEALTH_H_
