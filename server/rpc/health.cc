#include "server/rpc/health.h"

#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/unary_call.h"

namespace attribution::rpc {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// Writes the status of one name each time it changes. Only the newest unsent status is kept.
// Life: gRPC's, until OnDone().
class WatchReactor : public grpc::ServerWriteReactor<grpc::ByteBuffer>, private HealthWatcher {
 public:
  WatchReactor(std::shared_ptr<HealthStatuses> statuses, std::string name)
      : statuses_(std::move(statuses)), name_(std::move(name)) {
    statuses_->Watch(name_, this);
  }

  void OnWriteDone(bool ok) override {
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      ended_ = ended_ || !ok;
    }
    Advance();
  }

  void OnCancel() override {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    Advance();
  }

  void OnDone() override {
    statuses_->Unwatch(name_, this);
    delete this;
  }

 private:
  void OnStatus(HealthCheckResponse::ServingStatus status) override {
    {
      const std::lock_guard lock(mutex_);
      unsent_ = status;
    }
    Advance();
  }

  void OnEnd() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    Advance();
  }

  void Advance() {
    bool finish = false;
    bool gone = false;
    {
      const std::lock_guard lock(mutex_);
      gone = ended_;
      const bool nothing_to_tell = ended_ || !unsent_.has_value();
      if (writing_ || finished_ || (nothing_to_tell && !ended_ && !stopping_)) return;
      if (nothing_to_tell) {
        finish = finished_ = true;
      } else {
        writing_ = true;
        HealthCheckResponse response;
        response.set_status(*std::exchange(unsent_, std::nullopt));
        in_flight_ = ToBytes(response);
      }
    }
    if (finish) {
      Finish(gone ? grpc::Status(grpc::StatusCode::CANCELLED, "The watch ended.")
                  : grpc::Status(grpc::StatusCode::UNAVAILABLE,
                                 "The server stops. Watch another, or this one when it is back."));
    } else {
      StartWrite(&in_flight_);
    }
  }

  const std::shared_ptr<HealthStatuses> statuses_;
  const std::string name_;
  grpc::ByteBuffer in_flight_;  // gRPC's while writing_

  std::mutex mutex_;
  std::optional<HealthCheckResponse::ServingStatus> unsent_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;     // the client is gone
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;  // the server ends the watch
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

// Refuses a watch.
class RefusingReactor : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit RefusingReactor(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace

void HealthStatuses::Set(const std::string& name, bool serving) {
  const Status status = serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
  const std::lock_guard lock(mutex_);
  const auto [entry, is_new] = statuses_.try_emplace(name, status);
  if (!is_new && entry->second == status) return;
  entry->second = status;
  const auto watching = watchers_.find(name);
  if (watching == watchers_.end()) return;
  for (HealthWatcher* watcher : watching->second) watcher->OnStatus(status);
}

HealthStatuses::Status HealthStatuses::Get(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto entry = statuses_.find(name);
  return entry == statuses_.end() ? HealthCheckResponse::SERVICE_UNKNOWN : entry->second;
}

void HealthStatuses::Watch(const std::string& name, HealthWatcher* watcher) {
  const std::lock_guard lock(mutex_);
  watchers_[name].insert(watcher);
  const auto entry = statuses_.find(name);
  watcher->OnStatus(entry == statuses_.end() ? HealthCheckResponse::SERVICE_UNKNOWN : entry->second);
  if (watches_ended_) watcher->OnEnd();
}

void HealthStatuses::EndWatches() {
  const std::lock_guard lock(mutex_);
  watches_ended_ = true;
  for (const auto& [name, watchers] : watchers_) {
    for (HealthWatcher* watcher : watchers) watcher->OnEnd();
  }
}

void HealthStatuses::Unwatch(const std::string& name, HealthWatcher* watcher) {
  const std::lock_guard lock(mutex_);
  const auto watching = watchers_.find(name);
  if (watching == watchers_.end()) return;
  watching->second.erase(watcher);
  if (watching->second.empty()) watchers_.erase(watching);
}

grpc::ServerUnaryReactor* HealthServiceImpl::Check(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* request,
                                                   grpc::ByteBuffer* response) {
  return AnswerUnary<HealthCheckRequest>(
      context, SetUpCall(context).status(), request, response,
      [this](const HealthCheckRequest& check) -> absl::StatusOr<HealthCheckResponse> {
        HealthCheckResponse reply;
        reply.set_status(statuses_->Get(check.service()));
        if (reply.status() != HealthCheckResponse::SERVICE_UNKNOWN) return reply;
        return absl::NotFoundError(
            absl::StrCat("Unknown service. \"", check.service(),
                         "\" has no health here; names are \"\", \"liveness\", the services "
                         "and \"model/<name>\"."));
      });
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* HealthServiceImpl::Watch(grpc::CallbackServerContext* context,
                                                                     const grpc::ByteBuffer* request) {
  HealthCheckRequest watch;
  absl::Status status = SetUpCall(context).status();
  status.Update(ParseMessage(*request, &watch));
  if (!status.ok()) return new RefusingReactor(ToFinalStatus(status, context));
  return new WatchReactor(statuses_, watch.service());
}

}  // namespace attribution::rpc
