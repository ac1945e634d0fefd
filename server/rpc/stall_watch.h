// StallWatch notices that the client of a call takes nothing, and can end the call.
//
// What is handed to gRPC, a message or the final status, begins; when gRPC is done with it, it ends. What has
// begun and does not end within the timeout is a stall.
//
// It keeps the call itself, not its context or reactor: CancelCall() is safe at any time, also when gRPC has
// ended the call meanwhile. One timer a call at most, on gRPC's own threads. Thread-safe.
#ifndef SERVER_RPC_STALL_WATCH_H_
#define SERVER_RPC_STALL_WATCH_H_

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "grpcpp/alarm.h"
#include "grpcpp/server_context.h"

namespace attribution::rpc {

class StallWatch : public std::enable_shared_from_this<StallWatch> {
 public:
  // Calls `on_stall` after each `timeout` for which one thing does not end, without the mutex. It must not
  // keep the watch alive; null: CancelCall(). REQUIRES: timeout > 0.
  static std::shared_ptr<StallWatch> Create(grpc::CallbackServerContext* context, absl::Duration timeout,
                                            std::function<void()> on_stall = nullptr);
  ~StallWatch();
  StallWatch(const StallWatch&) = delete;
  StallWatch& operator=(const StallWatch&) = delete;

  // Something was handed to gRPC. Whatever began before has ended.
  void Began();

  // gRPC is done with it.
  void Ended();

  // Ends the call: what is in flight fails, the client gets CANCELLED if it still listens.
  void CancelCall();

  absl::Duration timeout() const { return timeout_; }

 private:
  using Clock = std::chrono::steady_clock;

  StallWatch(grpc::CallbackServerContext* context, absl::Duration timeout, std::function<void()> on_stall);
  void Arm(Clock::duration delay) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnAlarm() ABSL_LOCKS_EXCLUDED(mutex_);

  grpc_call* const call_;
  const absl::Duration timeout_;
  const std::function<void()> on_stall_;

  std::mutex mutex_;
  std::optional<Clock::time_point> since_ ABSL_GUARDED_BY(mutex_);  // when what is in flight began
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
  bool armed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace attribution::rpc

#endif  // SERVER_RPC_STALL_WATCH_H_
