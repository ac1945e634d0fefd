#include "server/rpc/call_canceller.h"

#include <utility>

namespace attribution::rpc {

// The engine is never called with the mutex held: it may answer on this thread.

void CallCanceller::Started(std::shared_ptr<AttributionCall> call) {
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    call_ = call;
    if (!cancelled_) return;
  }
  call->Cancel();
}

void CallCanceller::Cancel() {
  std::shared_ptr<AttributionCall> call;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    call = call_;
  }
  if (call != nullptr) call->Cancel();
}

void CallCanceller::Ended() {
  std::shared_ptr<AttributionCall> call;
  const std::lock_guard lock(mutex_);
  ended_ = true;
  call.swap(call_);
}

}  // namespace attribution::rpc
