#include "server/engine/device_engines.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_join.h"

namespace attribution::engine {
namespace {

// Counts a request until its last word.
class CountedSink final : public EventSink {
 public:
  CountedSink(std::shared_ptr<EventSink> sink, std::shared_ptr<std::atomic<int64_t>> under_way)
      : sink_(std::move(sink)), under_way_(std::move(under_way)) {
    ++*under_way_;
  }

  void OnEvent(Event event, EventMemory memory) override {
    sink_->OnEvent(std::move(event), std::move(memory));
  }
  void WhenWritable(std::function<void()> resume) override { sink_->WhenWritable(std::move(resume)); }
  void OnDone(const absl::Status& status) override {
    --*under_way_;
    sink_->OnDone(status);
  }

 private:
  const std::shared_ptr<EventSink> sink_;
  const std::shared_ptr<std::atomic<int64_t>> under_way_;
};

}  // namespace

DeviceEngines::DeviceEngines(std::vector<std::unique_ptr<Engine>> engines) {
  devices_.reserve(engines.size());
  for (std::unique_ptr<Engine>& engine : engines)
    devices_.push_back({std::move(engine), std::make_shared<std::atomic<int64_t>>(0)});
}

DeviceEngines::Device& DeviceEngines::Choose(const std::string& model, const std::string& version) {
  Device* chosen = nullptr;
  for (Device& device : devices_) {
    if (!model.empty()) {
      const absl::StatusOr<ModelInfo> info = device.engine->GetModel(model, version);
      if (!info.ok() || info->state != ModelState::kServing) continue;
    }
    if (chosen == nullptr || *device.under_way < *chosen->under_way) chosen = &device;
  }
  return chosen != nullptr ? *chosen : devices_.front();  // which says why not
}

std::shared_ptr<AttributionCall> DeviceEngines::Attribute(AttributionRequest request, CallContext context,
                                                          std::shared_ptr<EventSink> sink) {
  const Device& device = Choose(request.model, request.model_version);
  auto counted = std::make_shared<CountedSink>(std::move(sink), device.under_way);
  return device.engine->Attribute(std::move(request), std::move(context), std::move(counted));
}

std::shared_ptr<RolloutCall> DeviceEngines::Rollout(RolloutRequest request, CallContext context,
                                                    std::shared_ptr<EventSink> sink) {
  const Device& device = Choose("", "");
  auto counted = std::make_shared<CountedSink>(std::move(sink), device.under_way);
  return device.engine->Rollout(std::move(request), std::move(context), std::move(counted));
}

void DeviceEngines::Estimate(EstimateRequest request,
                             std::function<void(absl::StatusOr<AdmissionEstimate>)> done) {
  const Device& device = Choose(request.model, request.model_version);
  device.engine->Estimate(std::move(request), std::move(done));
}

ModelInfo DeviceEngines::Merged(const ModelInfo& info) const {
  std::vector<std::string> serving;
  ModelInfo merged = info;
  bool loading = false;
  for (const Device& device : devices_) {
    const absl::StatusOr<ModelInfo> known = device.engine->GetModel(info.name, info.version);
    if (!known.ok()) continue;
    loading = loading || known->state == ModelState::kLoading;
    if (known->state != ModelState::kServing) continue;
    if (serving.empty()) merged = *known;
    serving.push_back(known->device);
  }
  if (!serving.empty()) {
    merged.device = absl::StrJoin(serving, ",");
  } else if (loading) {
    merged.state = ModelState::kLoading;
  }
  return merged;
}

std::vector<ModelInfo> DeviceEngines::ListModels() const {
  std::vector<ModelInfo> models = devices_.front().engine->ListModels();
  for (ModelInfo& model : models) model = Merged(model);
  return models;
}

absl::StatusOr<ModelInfo> DeviceEngines::GetModel(const std::string& name, const std::string& version) const {
  absl::StatusOr<ModelInfo> info = devices_.front().engine->GetModel(name, version);
  for (const Device& device : devices_) {
    // The newest that serves may serve elsewhere.
    if (info.ok() && info->state == ModelState::kServing) break;
    absl::StatusOr<ModelInfo> other = device.engine->GetModel(name, version);
    if (other.ok() && other->state == ModelState::kServing) info = std::move(other);
  }
  if (!info.ok()) return info.status();
  return Merged(*info);
}

std::function<void(absl::StatusOr<ModelInfo>)> DeviceEngines::Collect(
    std::function<void(absl::StatusOr<ModelInfo>)> done) {
  struct Collected {
    std::mutex mutex;
    size_t missing = 0;
    absl::Status error;
  };
  const auto collected = std::make_shared<Collected>();
  collected->missing = devices_.size();
  return [this, collected, done = std::move(done)](const absl::StatusOr<ModelInfo>& answer) {
    absl::Status error;
    {
      const std::lock_guard lock(collected->mutex);
      collected->error.Update(answer.status());
      if (--collected->missing > 0) return;
      error = collected->error;
    }
    if (!error.ok()) return done(error);
    done(Merged(*answer));
  };
}

void DeviceEngines::LoadModel(const std::string& name, const std::string& version, LoadModelOptions options,
                              std::function<void(absl::StatusOr<ModelInfo>)> done) {
  const auto answer = Collect(std::move(done));
  for (const Device& device : devices_) device.engine->LoadModel(name, version, options, answer);
}

void DeviceEngines::UnloadModel(const std::string& name, const std::string& version,
                                std::function<void(absl::StatusOr<ModelInfo>)> done) {
  const auto answer = Collect(std::move(done));
  for (const Device& device : devices_) device.engine->UnloadModel(name, version, answer);
}

void DeviceEngines::WatchModels(std::function<void(const ModelInfo&)> listener) {
  struct Telling {
    std::mutex mutex;  // one call at a time, over all devices
    std::function<void(const ModelInfo&)> listener;
  };
  const auto telling = std::make_shared<Telling>();
  telling->listener = std::move(listener);
  for (const Device& device : devices_) {
    device.engine->WatchModels([this, telling](const ModelInfo& info) {
      const std::lock_guard lock(telling->mutex);
      telling->listener(Merged(info));
    });
  }
}

void DeviceEngines::WatchDevices(std::function<void(const DeviceState&)> listener) {
  for (const Device& device : devices_) device.engine->WatchDevices(listener);
}

bool DeviceEngines::Drain(absl::Duration grace) {
  std::vector<std::thread> threads;
  std::atomic<bool> all = true;
  threads.reserve(devices_.size());
  for (const Device& device : devices_) {
    threads.emplace_back([&all, &device, grace] {
      if (!device.engine->Drain(grace)) all = false;
    });
  }
  for (std::thread& thread : threads) thread.join();
  return all;
}

}  // namespace attribution::engine
