// NaiveRollout computes attention rollout the obvious way: everything kept, plain loops, double.
//
// It follows docs/rollout.md line by line and shares no code with the server, so that the two can be held
// against each other. Every preset, discard and include_padding. Pure functions; any thread.
#ifndef TESTS_ORACLE_NAIVE_ROLLOUT_H_
#define TESTS_ORACLE_NAIVE_ROLLOUT_H_

#include <cstdint>
#include <vector>

#include "attribution/events.h"
#include "attribution/options.h"

namespace attribution::oracle {

using Matrix = std::vector<std::vector<double>>;  // [S][S]
using Layer = std::vector<std::vector<Matrix>>;   // [B][H][S][S]
using Masks = std::vector<std::vector<int32_t>>;  // [B][S]

struct NaiveResult {
  std::vector<Matrix> rollouts;                // [B][S][S], zero at masked positions
  std::vector<std::vector<Matrix>> attention;  // [B][L][S][S], heads fused, zero at masked positions
  std::vector<Metrics> sequences;
  Metrics batch;
  std::vector<LayerMetrics> layers;  // batch values
};

// Returns rollouts and metrics of `layers` [L][B][H][S][S]; `masks` hold one row a sequence, padded with 0 to
// S. `lengths` [B] are the sequences' own lengths, for seq_length. With include_padding every length is S.
NaiveResult NaiveRollout(const std::vector<Layer>& layers, const Masks& masks,
                         const std::vector<int64_t>& lengths, const ResolvedOptions& options);

}  // namespace attribution::oracle

#endif  // TESTS_ORACLE_NAIVE_ROLLOUT_H_
