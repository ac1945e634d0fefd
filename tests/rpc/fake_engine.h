// FakeEngine is a puppet: a test takes the calls that reach it and plays their events itself.
//
// Thread-safe, as Engine is.
#ifndef TESTS_RPC_FAKE_ENGINE_H_
#define TESTS_RPC_FAKE_ENGINE_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "attribution/engine.h"

namespace attribution::rpc {

// One call that reached the engine.
struct FakeCall : AttributionCall {
  AttributionRequest request;
  CallContext context;
  std::shared_ptr<EventSink> sink;
  std::atomic_flag cancelled;

  void Cancel() override {
    cancelled.test_and_set();
    cancelled.notify_all();
  }

  // Returns after the first Cancel().
  void WaitUntilCancelled() { cancelled.wait(false); }
};

class FakeEngine : public Engine {
 public:
  // Plays every later call at once, on gRPC's thread, inside Attribute(). Not set: the test takes calls
  // itself.
  void PlayAtOnce(std::function<void(FakeCall&)> play) {
    const std::lock_guard lock(mutex_);
    play_ = std::move(play);
  }

  // Waits for the next call and takes it.
  std::shared_ptr<FakeCall> TakeCall() {
    std::unique_lock lock(mutex_);
    // Not wait(), which would lock again inside libstdc++, where the thread sanitizer does not see it.
    while (!arrived_.wait_for(lock, std::chrono::hours(1), [this] { return !calls_.empty(); })) {
    }
    std::shared_ptr<FakeCall> call = calls_.front();
    calls_.pop_front();
    return call;
  }

  // Calls that reached Attribute() so far.
  int num_calls() const {
    const std::lock_guard lock(mutex_);
    return num_calls_;
  }

  // Tells the listeners of `model`, and lists it from now on.
  void SetModel(const ModelInfo& model) {
    std::vector<std::function<void(const ModelInfo&)>> listeners;
    {
      const std::lock_guard lock(mutex_);
      bool known = false;
      for (ModelInfo& other : models_) {
        if (other.name != model.name || other.version != model.version) continue;
        other = model;
        known = true;
      }
      if (!known) models_.push_back(model);
      listeners = listeners_;
    }
    for (const auto& listener : listeners) listener(model);
  }

  std::shared_ptr<AttributionCall> Attribute(AttributionRequest request, CallContext context,
                                             std::shared_ptr<EventSink> sink) override {
    auto call = std::make_shared<FakeCall>();
    call->request = std::move(request);
    call->context = std::move(context);
    call->sink = std::move(sink);
    std::function<void(FakeCall&)> play;
    {
      const std::lock_guard lock(mutex_);
      ++num_calls_;
      play = play_;
      if (play == nullptr) calls_.push_back(call);
    }
    arrived_.notify_one();
    if (play != nullptr) play(*call);
    return call;
  }

  void Estimate(EstimateRequest, std::function<void(absl::StatusOr<AdmissionEstimate>)> done) override {
    done(absl::UnimplementedError("The puppet estimates nothing."));
  }

  std::shared_ptr<RolloutCall> Rollout(RolloutRequest, CallContext,
                                       std::shared_ptr<EventSink> sink) override {
    sink->OnDone(absl::UnimplementedError("The puppet folds nothing."));
    return nullptr;
  }

  std::vector<ModelInfo> ListModels() const override {
    const std::lock_guard lock(mutex_);
    return models_;
  }

  absl::StatusOr<ModelInfo> GetModel(const std::string& name, const std::string& version) const override {
    const std::lock_guard lock(mutex_);
    for (const ModelInfo& model : models_) {
      if (model.name == name && (version.empty() || model.version == version)) return model;
    }
    return absl::NotFoundError("No such model.");
  }

  void WatchModels(std::function<void(const ModelInfo&)> listener) override {
    std::vector<ModelInfo> models;
    {
      const std::lock_guard lock(mutex_);
      listeners_.push_back(listener);
      models = models_;
    }
    for (const ModelInfo& model : models) listener(model);
  }

  bool Drain(absl::Duration) override { return true; }

 private:
  mutable std::mutex mutex_;
  std::condition_variable arrived_;  // calls_ has grown
  std::function<void(FakeCall&)> play_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<FakeCall>> calls_ ABSL_GUARDED_BY(mutex_);
  int num_calls_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<ModelInfo> models_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::function<void(const ModelInfo&)>> listeners_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace attribution::rpc

#endif  // TESTS_RPC_FAKE_ENGINE_H_
