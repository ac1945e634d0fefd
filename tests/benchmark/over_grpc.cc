#include "tests/benchmark/over_grpc.h"

#include <utility>

namespace attribution::benchmark {

OverGrpc::OverGrpc(const std::string& server, const ModelFacts& model) : model_(model) {
  ClientOptions options;
  options.target = server;
  auto client = Client::Connect(options);
  Require(client.status());
  client_ = *std::move(client);
}

Memory OverGrpc::Prepare(const Shape& shape, int warm_ups) {
  request_ = RequestOf(shape, model_);
  Run(warm_ups);
  return {};
}

double OverGrpc::Run(int64_t repetitions) {
  return SecondsPerRun(repetitions, [this] { Require(client_->Attribute(request_, {})); });
}

}  // namespace attribution::benchmark
