// The protocol between the benchmark and the contenders that it runs as processes of their own. A line of
// text asks, a line of text answers, and between two requests a child sleeps:
//
//   prepare <batch> <length>    ->  <peak bytes> <attention bytes> <chunks>
//   run <repetitions>           ->  <seconds per run>
//
// Before the first request, the engine's child tells the model, once it has loaded it, and a child that runs
// the plain forward is told it: <name> <version> <layers> <heads> <vocabulary size> <input>...
// A child ends when its standard input does. One that fails says why on standard error and ends.
//
// Not thread-safe.
#ifndef TESTS_BENCHMARK_CHILD_PROTOCOL_H_
#define TESTS_BENCHMARK_CHILD_PROTOCOL_H_

#include <string>
#include <vector>

#include "tests/benchmark/child_process.h"
#include "tests/benchmark/contender.h"

namespace attribution::benchmark {

// The line that describes the model, and back. REQUIRES: no name with a space.
std::string LineOf(const ModelFacts& model);
ModelFacts ModelFactsOf(const std::string& line);

// In the child: lets `contender` answer the requests on standard input until it ends.
void AnswerRequests(Contender& contender);

// In the benchmark: the contender that runs in `process`, past the line about the model.
class ChildContender : public Contender {
 public:
  explicit ChildContender(ChildProcess& process) : process_(process) {}

  Memory Prepare(const Shape& shape) override;
  double Run(int64_t repetitions) override;

 private:
  ChildProcess& process_;
};

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_CHILD_PROTOCOL_H_
