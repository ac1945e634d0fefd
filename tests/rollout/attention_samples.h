// Makes attention for tests, and runs it through the folds of a chunk as the engine does.
#ifndef TESTS_ROLLOUT_ATTENTION_SAMPLES_H_
#define TESTS_ROLLOUT_ATTENTION_SAMPLES_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "attribution/options.h"
#include "server/rollout/attention_statistics.h"
#include "server/rollout/rollout_fold.h"
#include "tests/oracle/naive_rollout.h"

namespace attribution::rollout {

// Attention of sequences that are padded to a common length.
struct Sample {
  std::vector<oracle::Layer> layers;  // [L][B][H][S][S]
  oracle::Masks masks;                // [B][S], 0 beyond a sequence's own length
  std::vector<int64_t> lengths;       // [B]
};

// Random stochastic rows, sharp enough that products do not commute; NaN wherever row or column is masked.
// `masks` hold each sequence's own positions; the longest decides S.
Sample RandomSample(uint32_t seed, int32_t num_layers, int32_t num_heads,
                    const std::vector<std::vector<int32_t>>& masks);

// Attention of a batch padded to S as models give it: every sequence is S long, valid rows are 0 at masked
// columns, and masked rows hold NaN in the odd layers and random stochastic cells in the others.
Sample PaddedSample(uint32_t seed, int32_t num_layers, int32_t num_heads,
                    const std::vector<std::vector<int32_t>>& masks);

// One sequence, one head, no padding, from the matrices of its layers.
Sample SampleOf(const std::vector<oracle::Matrix>& layers);

// Options for `num_layers` layers with all that presets leave alike at its default: start_layer and
// discard_ratio too.
ResolvedOptions Defaults(int32_t num_layers, Preset preset = Preset::kAbnar2020);

struct ChunkFold {
  std::vector<SequenceFold> folds;                           // [B]
  std::vector<std::vector<AttentionStatistics>> statistics;  // [L][B]
};

// Folds the sequences of `sample`, which share one spare, in blocks of `block_rows` rows of type `dtype`.
// Expects every layer to succeed. With `rows`, folds those rows of each sequence alone.
ChunkFold FoldSample(const Sample& sample, const ResolvedOptions& options, int64_t block_rows = 1000,
                     at::ScalarType dtype = at::kFloat,
                     const std::optional<RowSelection>& rows = std::nullopt);

// Converts to [n][n].
oracle::Matrix ToMatrix(const at::Tensor& tensor);

// Converts [H][S][S] to a tensor [H, S, S].
at::Tensor ToTensor(const std::vector<oracle::Matrix>& heads, at::ScalarType dtype = at::kFloat);

// Expects the rollout of every sequence to be the oracle's; see FoldSample.
void ExpectAgreesWithOracle(const Sample& sample, const ResolvedOptions& options, int64_t block_rows,
                            double tolerance = 1e-5, at::ScalarType dtype = at::kFloat);

// Expects the top left of `want` [S][S] to equal `got` [n, n].
void ExpectNear(const at::Tensor& got, const oracle::Matrix& want, double tolerance);

}  // namespace attribution::rollout

#endif  // TESTS_ROLLOUT_ATTENTION_SAMPLES_H_
