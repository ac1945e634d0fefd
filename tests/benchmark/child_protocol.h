// The protocol between the benchmark and the contenders that are processes of their own. A line of text asks,
// a line of text answers, and between two requests a child sleeps:
//
//   prepare <batch> <length> <warm-ups>  ->  <peak bytes> <attention bytes> <chunks>, or: not-shown <reason>
//   run <repetitions>                    ->  <seconds per run>
//   result                               ->  <mean attention> <max attention> <attention entropy>
//                                            <attention concentration> <rollout max> <rollout entropy>
//   resident                             ->  <resident bytes> <most resident bytes>
//   forget-most-resident                 ->  done
//
// Before the first request, the engine's child tells the model, once it has loaded it, and any other child is
// told it: <name> <version> <layers> <heads> <vocabulary size> <blocked sites> <tapped sites> <input>...
// A child ends when its standard input does. One that fails says why on standard error and ends. The naive
// contender, which is a Python program, knows the first three requests.
//
// Not thread-safe.
#ifndef TESTS_BENCHMARK_CHILD_PROTOCOL_H_
#define TESTS_BENCHMARK_CHILD_PROTOCOL_H_

#include <string>

#include "tests/benchmark/child_process.h"
#include "tests/benchmark/contender.h"
#include "tests/benchmark/resident_memory.h"

namespace attribution::benchmark {

// The line that describes the model, and back. REQUIRES: no name with a space.
std::string LineOf(const ModelFacts& model);
ModelFacts ModelFactsOf(const std::string& line);

// In the child: lets `contender` answer the requests on standard input until it ends.
void AnswerRequests(Contender& contender);

// In the benchmark: a contender that runs in a process of its own.
class ChildContender : public Contender {
 public:
  // Starts a contender that tells the model, and waits until it has.
  ChildContender(const std::string& name, const Command& command);

  // Starts a contender that is told the model.
  ChildContender(const std::string& name, const Command& command, const ModelFacts& model);

  const ModelFacts& model() const { return model_; }
  const ChildProcess& process() const { return process_; }

  Memory Prepare(const Shape& shape, int warm_ups) override;
  double Run(int64_t repetitions) override;
  Metrics Result() override;

  // Of the child's process.
  ResidentMemory Resident();
  void ForgetMostResident();

 private:
  std::string Ask(const std::string& request);

  ChildProcess process_;
  ModelFacts model_;
};

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_CHILD_PROTOCOL_H_
