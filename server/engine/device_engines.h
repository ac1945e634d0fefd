// DeviceEngines is one engine over several devices: each has its own models, memory, queue and workers.
//
// A request goes to the device with the fewest under way among those where its model serves, and stays there.
// Thread-safe.
#ifndef SERVER_ENGINE_DEVICE_ENGINES_H_
#define SERVER_ENGINE_DEVICE_ENGINES_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "attribution/engine.h"

namespace attribution::engine {

class DeviceEngines final : public Engine {
 public:
  // REQUIRES: at least one engine; all of them serve the same repository.
  explicit DeviceEngines(std::vector<std::unique_ptr<Engine>> engines);

  std::shared_ptr<AttributionCall> Attribute(AttributionRequest request, CallContext context,
                                             std::shared_ptr<EventSink> sink) override;
  void Estimate(EstimateRequest request,
                std::function<void(absl::StatusOr<AdmissionEstimate>)> done) override;
  std::shared_ptr<RolloutCall> Rollout(RolloutRequest request, CallContext context,
                                       std::shared_ptr<EventSink> sink) override;

  // A version serves as soon as one device serves it, and is loading while one loads it and none serves; its
  // `device` names all that serve it, comma-separated.
  std::vector<ModelInfo> ListModels() const override;
  absl::StatusOr<ModelInfo> GetModel(const std::string& name, const std::string& version) const override;

  // On every device; `done` gets the first error, if there is one, when all have answered.
  void LoadModel(const std::string& name, const std::string& version, LoadModelOptions options,
                 std::function<void(absl::StatusOr<ModelInfo>)> done) override;
  void UnloadModel(const std::string& name, const std::string& version,
                   std::function<void(absl::StatusOr<ModelInfo>)> done) override;

  void WatchModels(std::function<void(const ModelInfo&)> listener) override;

  void WatchDevices(std::function<void(const DeviceState&)> listener) override;

  // Drains all at the same time.
  bool Drain(absl::Duration grace) override;

 private:
  struct Device {
    std::unique_ptr<Engine> engine;
    std::shared_ptr<std::atomic<int64_t>> under_way;  // requests
  };

  // The device for a request to this model; an empty name: to none.
  Device& Choose(const std::string& model, const std::string& version);
  // Returns what each device is to call with its answer; the last one calls `done` with what they say
  // together.
  std::function<void(absl::StatusOr<ModelInfo>)> Collect(std::function<void(absl::StatusOr<ModelInfo>)> done);
  // What the devices say of a version together. REQUIRES: the first knows it as `info`.
  ModelInfo Merged(const ModelInfo& info) const;

  std::vector<Device> devices_;
};

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_DEVICE_ENGINES_H_
