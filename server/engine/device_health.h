// DeviceHealth tests a device from time to time and tells when it falls ill or is well again.
//
// A device is ill when its last test failed, or when one has not come back for kPatience: a device that hangs
// answers nothing. It is well until a test says otherwise. It has no thread: its owner calls Check() at
// NextCheck(), and `run` puts the test on a thread that may hang with it. Thread-safe.
#ifndef SERVER_ENGINE_DEVICE_HEALTH_H_
#define SERVER_ENGINE_DEVICE_HEALTH_H_

#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "attribution/engine.h"

namespace attribution::engine {

class DeviceHealth {
 public:
  static constexpr absl::Duration kInterval = absl::Seconds(15);  // from one test, or look at it, to the next
  static constexpr absl::Duration kPatience = absl::Seconds(60);

  using Listener = std::function<void(const DeviceState& state)>;

  // `run(task)` runs a task on another thread; its thread ends before this object.
  DeviceHealth(std::string device, std::function<absl::Status()> test,
               std::function<void(std::function<void()>)> run, std::function<absl::Time()> clock);

  // Calls `listener` with the state now and after each change, one call at a time. It must not call back.
  void Watch(Listener listener);

  // When it is due, begins a test, or looks whether the one under way takes too long.
  void Check();

  // When Check() has something to do.
  absl::Time NextCheck() const;

 private:
  void Test();
  void Tell(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string device_;
  const std::function<absl::Status()> test_;
  const std::function<void(std::function<void()>)> run_;
  const std::function<absl::Time()> clock_;

  mutable std::mutex mutex_;
  std::vector<Listener> listeners_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);   // of the device
  bool testing_ ABSL_GUARDED_BY(mutex_) = false;  // a test is under way,
  absl::Time began_ ABSL_GUARDED_BY(mutex_);      // since then
  absl::Time next_check_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_DEVICE_HEALTH_H_
