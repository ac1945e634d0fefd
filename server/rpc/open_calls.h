// OpenCalls counts the calls that are under way, so that a server can wait for those it has begun to answer.
//
// Thread-safe.
#ifndef SERVER_RPC_OPEN_CALLS_H_
#define SERVER_RPC_OPEN_CALLS_H_

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

namespace attribution::rpc {

class OpenCalls : public std::enable_shared_from_this<OpenCalls> {
 public:
  // Counts a call until the last copy of what it returns is gone. REQUIRES: held by a shared_ptr.
  std::shared_ptr<const void> Enter();

  // Returns whether every call that entered before is over, at `deadline` at the latest. Later ones are not
  // waited for.
  bool WaitForEarlier(absl::Time deadline);

 private:
  void Leave(int64_t epoch);

  std::mutex mutex_;
  std::condition_variable left_;                              // an epoch has no call any more
  std::map<int64_t, int64_t> calls_ ABSL_GUARDED_BY(mutex_);  // by epoch; none is 0
  int64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;                 // of calls that enter now
};

}  // namespace attribution::rpc

#endif  // SERVER_RPC_OPEN_CALLS_H_
