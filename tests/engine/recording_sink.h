// RecordingSink keeps the events of one request, and lets a test step in between.
//
// Thread-safe: the engine writes while the test waits. Hooks are set before the request starts and run on the
// engine's threads; unlike a real sink's methods they may block. Synchronises by the standard library alone,
// whose locks the thread sanitizer sees; those of Debian's abseil it does not.
#ifndef TESTS_ENGINE_RECORDING_SINK_H_
#define TESTS_ENGINE_RECORDING_SINK_H_

#include <gtest/gtest.h>

#include <functional>
#include <latch>
#include <mutex>
#include <utility>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "attribution/engine.h"

namespace attribution::engine {

class RecordingSink : public EventSink {
 public:
  // Called after an event was recorded.
  std::function<void(const Event&)> event_hook;
  // Takes the engine's `resume` in place of calling it at once.
  std::function<void(std::function<void()>)> writable_hook;
  // Called first thing in OnDone.
  std::function<void()> done_hook;

  void OnEvent(Event event, EventMemory /*memory*/) override {
    {
      const std::lock_guard lock(mutex_);
      events_.push_back(event);
    }
    if (event_hook) event_hook(event);
  }

  void WhenWritable(std::function<void()> resume) override {
    if (writable_hook) {
      writable_hook(std::move(resume));
    } else {
      resume();
    }
  }

  void OnDone(const absl::Status& status) override {
    if (done_hook) done_hook();
    {
      const std::lock_guard lock(mutex_);
      status_ = status;
    }
    EXPECT_FALSE(done_.try_wait()) << "OnDone came twice.";
    done_.count_down();
  }

  // Waits for OnDone and returns its status.
  absl::Status Wait() const {
    done_.wait();
    const std::lock_guard lock(mutex_);
    return status_;
  }

  bool IsDone() const { return done_.try_wait(); }

  std::vector<Event> events() const {
    const std::lock_guard lock(mutex_);
    return events_;
  }

  // Events of one type, in order.
  template <typename EventType>
  std::vector<EventType> EventsOf() const {
    std::vector<EventType> found;
    for (const Event& event : events()) {
      if (const auto* wanted = std::get_if<EventType>(&event)) found.push_back(*wanted);
    }
    return found;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Event> events_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::latch done_{1};
};

}  // namespace attribution::engine

#endif  // TESTS_ENGINE_RECORDING_SINK_H_
