#include "server/admission/expected_wait.h"

#include <algorithm>
#include <functional>
#include <queue>

namespace attribution::admission {

absl::Duration ExpectedWait(const std::vector<absl::Duration>& busy_for,
                            const std::vector<absl::Duration>& ahead, int32_t workers) {
  std::priority_queue<absl::Duration, std::vector<absl::Duration>, std::greater<>> free_after;
  for (const absl::Duration busy : busy_for) free_after.push(std::max(busy, absl::ZeroDuration()));
  while (static_cast<int64_t>(free_after.size()) < workers) free_after.push(absl::ZeroDuration());
  for (const absl::Duration turn : ahead) {
    const absl::Duration start = free_after.top();
    free_after.pop();
    free_after.push(start + turn);
  }
  return free_after.top();
}

}  // namespace attribution::admission
