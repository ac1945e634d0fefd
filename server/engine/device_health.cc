#include "server/engine/device_health.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace attribution::engine {

DeviceHealth::DeviceHealth(std::string device, std::function<absl::Status()> test,
                           std::function<void(std::function<void()>)> run, std::function<absl::Time()> clock)
    : device_(std::move(device)),
      test_(std::move(test)),
      run_(std::move(run)),
      clock_(std::move(clock)),
      next_check_(clock_()) {}

void DeviceHealth::Watch(Listener listener) {
  const std::lock_guard lock(mutex_);
  listener({device_, status_});
  listeners_.push_back(std::move(listener));
}

void DeviceHealth::Check() {
  {
    const std::lock_guard lock(mutex_);
    const absl::Time now = clock_();
    if (now < next_check_) return;
    next_check_ = now + kInterval;
    if (testing_) {
      if (now - began_ < kPatience) return;
      return Tell(absl::DeadlineExceededError(
          absl::StrCat("The device does not answer. A small computation on ", device_, " takes longer than ",
                       absl::FormatDuration(kPatience), ". Restart the server; look at the device.")));
    }
    testing_ = true;
    began_ = now;
  }
  run_([this] { Test(); });
}

void DeviceHealth::Test() {
  absl::Status status = test_();
  const std::lock_guard lock(mutex_);
  testing_ = false;
  Tell(std::move(status));
}

void DeviceHealth::Tell(absl::Status status) {
  const bool changed = status.ok() != status_.ok();
  status_ = std::move(status);
  if (!changed) return;
  for (const Listener& listener : listeners_) listener({device_, status_});
}

absl::Time DeviceHealth::NextCheck() const {
  const std::lock_guard lock(mutex_);
  return next_check_;
}

}  // namespace attribution::engine
