// The standard health service, grpc.health.v1.Health, and the statuses it tells.
//
// HealthStatuses holds one status a name; HealthServiceImpl answers Check and Watch from it. Several servers
// (the main one and a plaintext one for probes) each register a service of their own over the same statuses.
// gRPC's default service is not used: it says SERVING for "" before anything can be set, and forgets no name.
#ifndef SERVER_RPC_HEALTH_H_
#define SERVER_RPC_HEALTH_H_

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace attribution::rpc {

// Hears of changes of one name. Called with the statuses' mutex held: must not call back, must not block.
class HealthWatcher {
 public:
  virtual ~HealthWatcher() = default;
  virtual void OnStatus(grpc::health::v1::HealthCheckResponse::ServingStatus status) = 0;
  // No more statuses come: the watch is to end once the last one is told.
  virtual void OnEnd() = 0;
};

// Thread-safe.
class HealthStatuses {
 public:
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;

  // Sets the status of `name` and tells who watches it.
  void Set(const std::string& name, bool serving);

  // SERVICE_UNKNOWN for a name that was never set.
  Status Get(const std::string& name) const;

  // Tells `watcher` the status of `name` now and at each change, until Unwatch() returns.
  void Watch(const std::string& name, HealthWatcher* watcher);
  void Unwatch(const std::string& name, HealthWatcher* watcher);

  // Ends every watch, and those that come later as soon as they have heard a status. Idempotent.
  void EndWatches();

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Status> statuses_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::set<HealthWatcher*>> watchers_ ABSL_GUARDED_BY(mutex_);
  bool watches_ended_ ABSL_GUARDED_BY(mutex_) = false;
};

using RawHealthService = grpc::health::v1::Health::WithRawCallbackMethod_Check<
    grpc::health::v1::Health::WithRawCallbackMethod_Watch<grpc::health::v1::Health::Service>>;

// Thread-safe.
class HealthServiceImpl : public RawHealthService {
 public:
  explicit HealthServiceImpl(std::shared_ptr<HealthStatuses> statuses) : statuses_(std::move(statuses)) {}

  // NOT_FOUND for an unknown name.
  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;

  // Streams SERVICE_UNKNOWN for an unknown name: it may come to be known. Ends when the client does, or
  // with UNAVAILABLE when the server does.
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Watch(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request) override;

 private:
  const std::shared_ptr<HealthStatuses> statuses_;
};

}  // namespace attribution::rpc

#endif  // SERVER_RPC_HEALTH_H_
