// Turns statistics into the metrics that callers see.
//
// Pure functions; any thread. Definitions and weights are in docs/rollout.md.
#ifndef SERVER_ROLLOUT_METRICS_H_
#define SERVER_ROLLOUT_METRICS_H_

#include <cstdint>
#include <optional>

#include "attribution/events.h"
#include "server/rollout/attention_statistics.h"

namespace attribution::rollout {

// Makes the metrics of one sequence (batch_size 1, seq_length its own length) or, from merged statistics, of
// a chunk or batch (number of sequences, longest length). `attention` is of layer layer_idx, `rollout` of R.
// Without `rollout`, rollout_max and rollout_entropy are absent.
Metrics MakeMetrics(const AttentionStatistics& attention, const std::optional<AttentionStatistics>& rollout,
                    int64_t batch_size, int64_t seq_length);

// Fills the four statistics and the two counts of `layer`; layer_idx and the rest are the caller's.
void FillLayerMetrics(const AttentionStatistics& attention, LayerMetrics& layer);

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_METRICS_H_
