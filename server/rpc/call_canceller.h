// CallCanceller passes a cancellation to the engine, in whatever order cancellation, start and end of a call
// happen.
//
// Thread-safe.
#ifndef SERVER_RPC_CALL_CANCELLER_H_
#define SERVER_RPC_CALL_CANCELLER_H_

#include <memory>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "attribution/engine.h"

namespace attribution::rpc {

class CallCanceller {
 public:
  // Takes the engine's handle; cancels it if Cancel() came before, drops it if Ended() did.
  void Started(std::shared_ptr<AttributionCall> call);

  // Cancels the call, now or as soon as it is known. Idempotent.
  void Cancel();

  // Drops the handle: the engine has said its last word.
  void Ended();

 private:
  std::mutex mutex_;
  std::shared_ptr<AttributionCall> call_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace attribution::rpc

#endif  // SERVER_RPC_CALL_CANCELLER_H_
