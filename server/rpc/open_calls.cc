#include "server/rpc/open_calls.h"

#include <algorithm>

#include "absl/time/clock.h"

namespace attribution::rpc {

std::shared_ptr<const void> OpenCalls::Enter() {
  int64_t epoch = 0;
  {
    const std::lock_guard lock(mutex_);
    epoch = epoch_;
    ++calls_[epoch];
  }
  return {nullptr, [calls = shared_from_this(), epoch](const void*) { calls->Leave(epoch); }};
}

void OpenCalls::Leave(int64_t epoch) {
  const std::lock_guard lock(mutex_);
  const auto found = calls_.find(epoch);
  if (--found->second > 0) return;
  calls_.erase(found);
  left_.notify_all();
}

bool OpenCalls::WaitForEarlier(absl::Time deadline) {
  // A year at most: an infinite wait would overflow the clock and end at once.
  const absl::Duration patience = std::min(deadline - absl::Now(), absl::Hours(24 * 365));
  std::unique_lock lock(mutex_);
  const int64_t epoch = ++epoch_;
  return left_.wait_for(lock, absl::ToChronoNanoseconds(patience),
                        [&] { return calls_.empty() || calls_.begin()->first >= epoch; });
}

}  // namespace attribution::rpc
