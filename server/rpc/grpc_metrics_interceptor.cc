#include "server/rpc/grpc_metrics_interceptor.h"

#include <chrono>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "server/telemetry/label_values.h"

namespace attribution::rpc {
namespace {

using grpc::experimental::InterceptionHookPoints;
using telemetry::MetricId;

constexpr char kReflection[] = "grpc.reflection.v1alpha.ServerReflection";
constexpr const char* kServices[] = {"attribution.v1.AttributionService", "attribution.v1.ModelService",
                                     "grpc.health.v1.Health", kReflection};

struct Method {
  std::string type;
  std::string service;
  std::string name;
};

const char* TypeOf(const google::protobuf::MethodDescriptor& method) {
  if (method.client_streaming()) return method.server_streaming() ? "bidi_stream" : "client_stream";
  return method.server_streaming() ? "server_stream" : "unary";
}

// Methods that are counted, by the path of their requests. Taken from the descriptors that reflection serves
// too.
const std::map<std::string, Method>& Methods() {
  static const auto* const methods = [] {
    auto* const all = new std::map<std::string, Method>();
    for (const char* name : kServices) {
      const auto* service = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
      for (int i = 0; service != nullptr && i < service->method_count(); ++i) {
        const auto& method = *service->method(i);
        all->emplace(absl::StrCat("/", name, "/", method.name()),
                     Method{TypeOf(method), name, method.name()});
      }
    }
    return all;
  }();
  return *methods;
}

// Counts one RPC.
class Interceptor : public grpc::experimental::Interceptor {
 public:
  Interceptor(telemetry::Metrics& metrics, const Method& method, std::shared_ptr<const void> open_call)
      : metrics_(metrics), method_(method), open_call_(std::move(open_call)) {
    Count(MetricId::kGrpcStarted);
  }

  void Intercept(grpc::experimental::InterceptorBatchMethods* batch) override {
    // At the end of the client's stream the hook is there without a message.
    if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE) &&
        batch->GetRecvMessage() != nullptr) {
      Count(MetricId::kGrpcMessagesReceived);
    }
    if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_MESSAGE)) {
      Count(MetricId::kGrpcMessagesSent);
    }
    if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      const char* code = telemetry::GrpcCodeName(batch->GetSendStatus().error_code());
      metrics_.Add(MetricId::kGrpcHandled, {method_.type, method_.service, method_.name, code});
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start_;
      metrics_.Observe(MetricId::kGrpcHandlingSeconds, {method_.type, method_.service, method_.name},
                       seconds.count());
    }
    batch->Proceed();
  }

 private:
  void Count(MetricId id) { metrics_.Add(id, {method_.type, method_.service, method_.name}); }

  telemetry::Metrics& metrics_;
  const Method& method_;
  const std::shared_ptr<const void> open_call_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

class InterceptorFactory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  InterceptorFactory(telemetry::Metrics& metrics, std::shared_ptr<OpenCalls> open_calls)
      : metrics_(metrics), open_calls_(std::move(open_calls)) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(grpc::experimental::ServerRpcInfo* info) override {
    const auto method = Methods().find(info->method() == nullptr ? "" : info->method());
    if (method == Methods().end()) return nullptr;
    const bool counts = method->second.service != kReflection;
    return new Interceptor(metrics_, method->second, counts ? open_calls_->Enter() : nullptr);
  }

 private:
  telemetry::Metrics& metrics_;
  const std::shared_ptr<OpenCalls> open_calls_;
};

}  // namespace

void DeclareGrpcMetrics(telemetry::Metrics& metrics) {
  for (const auto& [path, method] : Methods())
    metrics.DeclareMethod(method.type, method.service, method.name);
}

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeGrpcMetricsInterceptors(
    telemetry::Metrics& metrics, std::shared_ptr<OpenCalls> open_calls) {
  return std::make_unique<InterceptorFactory>(metrics, std::move(open_calls));
}

}  // namespace attribution::rpc
