#include "server/rpc/metrics_reply.h"

#include <variant>

#include "server/rpc/convert_response.h"
#include "server/rpc/status_mapping.h"

namespace attribution::rpc {

class MetricsReply::Reactor : public grpc::ServerUnaryReactor {
 public:
  explicit Reactor(std::shared_ptr<MetricsReply> reply) : reply_(std::move(reply)) {}

  void OnCancel() override { reply_->canceller_.Cancel(); }
  void OnDone() override { delete this; }

 private:
  const std::shared_ptr<MetricsReply> reply_;
};

MetricsReply::MetricsReply(grpc::CallbackServerContext* context, grpc::ByteBuffer* response,
                           absl::Duration write_stall_timeout)
    : context_(context), response_(response), watch_(StallWatch::Create(context, write_stall_timeout)) {}

std::shared_ptr<MetricsReply> MetricsReply::Create(grpc::CallbackServerContext* context,
                                                   grpc::ByteBuffer* response,
                                                   absl::Duration write_stall_timeout) {
  std::shared_ptr<MetricsReply> reply(new MetricsReply(context, response, write_stall_timeout));
  reply->reactor_ = new Reactor(reply);  // deletes itself when gRPC is done with it
  return reply;
}

void MetricsReply::OnEvent(Event event, EventMemory /*memory*/) {
  if (Admitted* admitted = std::get_if<Admitted>(&event)) {
    *message_.mutable_admitted() = ToProto(std::move(*admitted));
  } else if (const AttributionResult* result = std::get_if<AttributionResult>(&event)) {
    *message_.mutable_result() = ToProto(*result);
  }
}

void MetricsReply::OnDone(const absl::Status& status) {
  canceller_.Ended();
  if (status.ok()) *response_ = ToBytes(message_);
  watch_->Began();
  reactor_->Finish(ToFinalStatus(status, context_));
}

}  // namespace attribution::rpc
