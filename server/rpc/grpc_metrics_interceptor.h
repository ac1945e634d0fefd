// Counts every RPC: those under way in OpenCalls, and all in the five grpc_server_* families, with the names
// and labels of go-grpc-middleware.
//
// A method is counted only if it is one of ours, of health or of reflection: names that clients make up are
// not labels. What is sent is counted before it goes out, so that a client who has an answer finds it in the
// metrics.
#ifndef SERVER_RPC_GRPC_METRICS_INTERCEPTOR_H_
#define SERVER_RPC_GRPC_METRICS_INTERCEPTOR_H_

#include <memory>

#include "grpcpp/support/server_interceptor.h"
#include "server/rpc/open_calls.h"
#include "server/telemetry/metrics.h"

namespace attribution::rpc {

// Makes the families appear at 0 for every method of every service, with every code. Idempotent.
void DeclareGrpcMetrics(telemetry::Metrics& metrics);

// Returns a factory for grpc::ServerBuilder. Calls of our services and of health enter `open_calls`; streams
// of reflection, which clients may leave open, do not. Thread-safe. REQUIRES: `metrics` outlives the server.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeGrpcMetricsInterceptors(
    telemetry::Metrics& metrics, std::shared_ptr<OpenCalls> open_calls);

}  // namespace attribution::rpc

#endif  // SERVER_RPC_GRPC_METRICS_INTERCEPTOR_H_
