#include "server/rollout/metrics.h"

namespace attribution::rollout {

Metrics MakeMetrics(const AttentionStatistics& attention, const std::optional<AttentionStatistics>& rollout,
                    int64_t batch_size, int64_t seq_length) {
  Metrics metrics;
  metrics.mean_attention = attention.mean();
  metrics.max_attention = attention.max_cell;
  metrics.attention_entropy = attention.entropy();
  metrics.attention_concentration = attention.concentration();
  if (rollout.has_value()) {
    metrics.rollout_max = rollout->max_cell;
    metrics.rollout_entropy = rollout->entropy();
  }
  metrics.batch_size = batch_size;
  metrics.seq_length = seq_length;
  return metrics;
}

void FillLayerMetrics(const AttentionStatistics& attention, LayerMetrics& layer) {
  layer.mean_attention = attention.mean();
  layer.max_attention = attention.max_cell;
  layer.attention_entropy = attention.entropy();
  layer.attention_concentration = attention.concentration();
  layer.num_rows = attention.num_rows;
  layer.num_cells = attention.num_cells;
}

}  // namespace attribution::rollout
