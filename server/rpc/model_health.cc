#include "server/rpc/model_health.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace attribution::rpc {
namespace {

bool AnyIs(const std::map<std::string, ModelState>& versions, ModelState state) {
  return std::any_of(versions.begin(), versions.end(),
                     [state](const auto& entry) { return entry.second == state; });
}

}  // namespace

ModelHealth::ModelHealth(std::shared_ptr<HealthStatuses> statuses, std::vector<std::string> services)
    : statuses_(std::move(statuses)), services_(std::move(services)) {
  statuses_->Set("liveness", true);
  const std::lock_guard lock(mutex_);
  Update();
}

void ModelHealth::OnModel(const ModelInfo& model) {
  const std::lock_guard lock(mutex_);
  versions_[model.name][model.version] = model.state;
  Update();
}

void ModelHealth::OnDevice(const DeviceState& device) {
  const std::lock_guard lock(mutex_);
  if (device.status.ok()) {
    ill_devices_.erase(device.device);
  } else {
    ill_devices_.insert(device.device);
  }
  statuses_->Set("liveness", ill_devices_.empty());
}

void ModelHealth::AllKnown() {
  const std::lock_guard lock(mutex_);
  all_known_ = true;
  Update();
}

void ModelHealth::Stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  Update();
}

void ModelHealth::Update() {
  const bool loading = std::any_of(versions_.begin(), versions_.end(), [](const auto& entry) {
    return AnyIs(entry.second, ModelState::kLoading);
  });
  ready_ = ready_ || (all_known_ && !loading);
  const bool serving = ready_ && !stopped_;
  for (const auto& [name, versions] : versions_) {
    statuses_->Set(absl::StrCat("model/", name), !stopped_ && AnyIs(versions, ModelState::kServing));
  }
  statuses_->Set("", serving);
  for (const std::string& service : services_) statuses_->Set(service, serving);
}

}  // namespace attribution::rpc
