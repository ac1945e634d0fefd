#include "server/rpc/stall_watch.h"

#include <algorithm>
#include <utility>

#include "grpc/grpc.h"
#include "grpc/support/time.h"

namespace attribution::rpc {

std::shared_ptr<StallWatch> StallWatch::Create(grpc::CallbackServerContext* context, absl::Duration timeout,
                                               std::function<void()> on_stall) {
  return std::shared_ptr<StallWatch>(new StallWatch(context, timeout, std::move(on_stall)));
}

StallWatch::StallWatch(grpc::CallbackServerContext* context, absl::Duration timeout,
                       std::function<void()> on_stall)
    : call_(context->c_call()), timeout_(timeout), on_stall_(std::move(on_stall)) {
  grpc_call_ref(call_);
}

StallWatch::~StallWatch() { grpc_call_unref(call_); }

void StallWatch::Began() {
  const std::lock_guard lock(mutex_);
  since_ = Clock::now();
  // A timer that runs already is left alone: most messages end long before it, and then it looks again.
  if (!armed_) Arm(absl::ToChronoNanoseconds(timeout_));
}

void StallWatch::Ended() {
  const std::lock_guard lock(mutex_);
  since_.reset();
}

void StallWatch::CancelCall() { grpc_call_cancel(call_, nullptr); }

void StallWatch::Arm(Clock::duration delay) {
  armed_ = true;
  // A new one each time: one whose function runs, as here from OnAlarm(), cannot be set.
  alarm_ = std::make_unique<grpc::Alarm>();
  const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(delay).count();
  const gpr_timespec when =
      gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(nanoseconds, GPR_TIMESPAN));
  alarm_->Set(when, [watch = weak_from_this()](bool expired) {
    if (!expired) return;
    if (const std::shared_ptr<StallWatch> alive = watch.lock()) alive->OnAlarm();
  });
}

void StallWatch::OnAlarm() {
  {
    const std::lock_guard lock(mutex_);
    armed_ = false;
    if (!since_.has_value()) return;  // the next message arms it again
    const Clock::duration left = *since_ + absl::ToChronoNanoseconds(timeout_) - Clock::now();
    if (left > Clock::duration::zero()) return Arm(left);
    since_ = Clock::now();
    Arm(absl::ToChronoNanoseconds(timeout_));
  }
  if (on_stall_ == nullptr) return CancelCall();
  on_stall_();
}

}  // namespace attribution::rpc
