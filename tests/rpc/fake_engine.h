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

// One rollout that reached the engine.
struct FakeRollout : RolloutCall {
  struct Piece {
    int32_t layer = 0;
    int64_t offset = 0;
    std::string data;
    std::function<void()> taken;
  };

  RolloutRequest request;
  CallContext context;
  std::shared_ptr<EventSink> sink;
  std::atomic_flag cancelled;

  void Cancel() override {
    cancelled.test_and_set();
    cancelled.notify_all();
  }

  void Append(int32_t layer, int64_t offset, std::string data, std::function<void()> taken) override {
    {
      const std::lock_guard lock(mutex);
      pieces.push_back({layer, offset, std::move(data), std::move(taken)});
      ++num_pieces;
    }
    changed.notify_one();
  }

  void End() override {
    {
      const std::lock_guard lock(mutex);
      ended = true;
    }
    changed.notify_one();
  }

  // Waits for the next piece and takes it.
  Piece TakePiece() {
    std::unique_lock lock(mutex);
    while (!changed.wait_for(lock, std::chrono::hours(1), [this] { return !pieces.empty(); })) {
    }
    Piece piece = std::move(pieces.front());
    pieces.pop_front();
    return piece;
  }

  // Waits until no more pieces come.
  void WaitUntilEnded() {
    std::unique_lock lock(mutex);
    while (!changed.wait_for(lock, std::chrono::hours(1), [this] { return ended; })) {
    }
  }

  // Returns after the first Cancel().
  void WaitUntilCancelled() { cancelled.wait(false); }

  std::mutex mutex;
  std::condition_variable changed;  // a piece came, or the end
  std::deque<Piece> pieces ABSL_GUARDED_BY(mutex);
  int num_pieces ABSL_GUARDED_BY(mutex) = 0;
  bool ended ABSL_GUARDED_BY(mutex) = false;
};

// One estimate that was asked for.
struct FakeEstimate {
  EstimateRequest request;
  std::function<void(absl::StatusOr<AdmissionEstimate>)> done;
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
  std::shared_ptr<FakeCall> TakeCall() { return Take(calls_); }

  // The same for a rollout, and for an estimate, which the test answers.
  std::shared_ptr<FakeRollout> TakeRollout() { return Take(rollouts_); }
  FakeEstimate TakeEstimate() { return Take(estimates_); }

  // Plays every later rollout at once, inside Rollout().
  void PlayRolloutsAtOnce(std::function<void(FakeRollout&)> play) {
    const std::lock_guard lock(mutex_);
    play_rollout_ = std::move(play);
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
    arrived_.notify_all();
    if (play != nullptr) play(*call);
    return call;
  }

  void Estimate(EstimateRequest request,
                std::function<void(absl::StatusOr<AdmissionEstimate>)> done) override {
    {
      const std::lock_guard lock(mutex_);
      estimates_.push_back({std::move(request), std::move(done)});
    }
    arrived_.notify_all();
  }

  std::shared_ptr<RolloutCall> Rollout(RolloutRequest request, CallContext context,
                                       std::shared_ptr<EventSink> sink) override {
    auto call = std::make_shared<FakeRollout>();
    call->request = std::move(request);
    call->context = std::move(context);
    call->sink = std::move(sink);
    std::function<void(FakeRollout&)> play;
    {
      const std::lock_guard lock(mutex_);
      play = play_rollout_;
      if (play == nullptr) rollouts_.push_back(call);
    }
    arrived_.notify_all();
    if (play != nullptr) play(*call);
    return call;
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

  // Answers with the model that was set, and keeps what it was asked for.
  void LoadModel(const std::string& name, const std::string& version, LoadModelOptions options,
                 std::function<void(absl::StatusOr<ModelInfo>)> done) override {
    {
      const std::lock_guard lock(mutex_);
      loads_.push_back(options);
    }
    done(GetModel(name, version));
  }
  void UnloadModel(const std::string& name, const std::string& version,
                   std::function<void(absl::StatusOr<ModelInfo>)> done) override {
    done(GetModel(name, version));
  }
  std::vector<LoadModelOptions> loads() const {
    const std::lock_guard lock(mutex_);
    return loads_;
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

  void WatchDevices(std::function<void(const DeviceState&)> listener) override {
    const std::lock_guard lock(mutex_);
    device_listeners_.push_back(std::move(listener));
  }

  // Tells the state of a device, as the engine's own test of it would.
  void SetDevice(const DeviceState& state) {
    std::vector<std::function<void(const DeviceState&)>> listeners;
    {
      const std::lock_guard lock(mutex_);
      listeners = device_listeners_;
    }
    for (const auto& listener : listeners) listener(state);
  }

  bool Drain(absl::Duration) override { return true; }

 private:
  // Waits until one of what has arrived is there.
  template <typename Item>
  Item Take(std::deque<Item>& items) {
    std::unique_lock lock(mutex_);
    // Not wait(), which would lock again inside libstdc++, where the thread sanitizer does not see it.
    while (!arrived_.wait_for(lock, std::chrono::hours(1), [&items] { return !items.empty(); })) {
    }
    Item item = std::move(items.front());
    items.pop_front();
    return item;
  }

  mutable std::mutex mutex_;
  std::vector<LoadModelOptions> loads_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::function<void(const DeviceState&)>> device_listeners_ ABSL_GUARDED_BY(mutex_);
  std::condition_variable arrived_;  // a queue has grown
  std::function<void(FakeCall&)> play_ ABSL_GUARDED_BY(mutex_);
  std::function<void(FakeRollout&)> play_rollout_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<FakeCall>> calls_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<FakeRollout>> rollouts_ ABSL_GUARDED_BY(mutex_);
  std::deque<FakeEstimate> estimates_ ABSL_GUARDED_BY(mutex_);
  int num_calls_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<ModelInfo> models_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::function<void(const ModelInfo&)>> listeners_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace attribution::rpc

#endif  // TESTS_RPC_FAKE_ENGINE_H_
