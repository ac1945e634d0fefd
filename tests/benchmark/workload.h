// What every contender runs: the model, the shapes and the token ids.
//
// Plain values and pure functions; any thread.
#ifndef TESTS_BENCHMARK_WORKLOAD_H_
#define TESTS_BENCHMARK_WORKLOAD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "attribution/request.h"

namespace attribution::benchmark {

struct Shape {
  int64_t batch = 0;
  int64_t length = 0;  // in tokens
};

// What the contenders have to know of the version that is measured.
struct ModelFacts {
  std::string name;
  std::string version;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t vocabulary_size = 0;  // 0: unknown
  int64_t blocked_sites = 0;    // of these and the next, what the engine made of the file's attention
  int64_t tapped_sites = 0;
  std::vector<std::string> inputs;  // in the order of `forward`
};

// Returns sequences of random ids, all positions valid; equal for equal arguments, in whichever process.
std::vector<TokenSequence> SequencesOf(const Shape& shape, const ModelFacts& model);

// What of a rollout is asked for where its metrics are not: rows of it.
OutputSelection RolloutRows(RowSelection::Kind rows);

// Returns the request for these sequences. Metrics only: preset and everything else at their defaults.
AttributionRequest RequestOf(const Shape& shape, const ModelFacts& model);

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_WORKLOAD_H_
