// OverGrpc attributes with the C++ client, at an attribution-server that is a process of its own.
//
// Not thread-safe.
#ifndef TESTS_BENCHMARK_OVER_GRPC_H_
#define TESTS_BENCHMARK_OVER_GRPC_H_

#include <memory>
#include <string>

#include "attribution/client.h"
#include "tests/benchmark/contender.h"

namespace attribution::benchmark {

class OverGrpc : public Contender {
 public:
  // Connects to `server`, host:port, which serves the same repository with one worker of as many threads.
  OverGrpc(const std::string& server, const ModelFacts& model);

  // Memory: not told; the server is an engine as InProcess is.
  Memory Prepare(const Shape& shape, int warm_ups) override;

  // Times each run from the call to its end.
  double Run(int64_t repetitions) override;

 private:
  const ModelFacts model_;
  std::unique_ptr<Client> client_;
  AttributionRequest request_;
};

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_OVER_GRPC_H_
