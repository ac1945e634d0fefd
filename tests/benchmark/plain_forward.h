// PlainForward runs the TorchScript file of a bundle as anybody would: loaded, uncut, nothing captured.
//
// Not thread-safe. Errors are torch's exceptions: a benchmark ends with them.
#ifndef TESTS_BENCHMARK_PLAIN_FORWARD_H_
#define TESTS_BENCHMARK_PLAIN_FORWARD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "attribution/model_info.h"
#include "attribution/request.h"

namespace attribution::benchmark {

class PlainForward {
 public:
  // Loads `path`, whose forward takes `inputs` in this order. Its threads are those of the calling thread.
  PlainForward(const std::string& path, const std::vector<ModelInput>& inputs);
  ~PlainForward();

  // Takes sequences of equal length, all positions valid, as the batch of the next runs.
  void SetBatch(const std::vector<TokenSequence>& sequences);

  // Runs the batch once. Returns the seconds it took.
  double Run();

  // Runs the batch once and returns the most bytes that torch held at once for it, above model and inputs.
  int64_t MeasurePeakBytes();

 private:
  struct Module;
  const std::unique_ptr<Module> module_;
};

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_PLAIN_FORWARD_H_
