// A small finished attribution for the tests of output.
#ifndef ATTRIBUTION_TESTS_CLIENT_SAMPLE_REPLY_H_
#define ATTRIBUTION_TESTS_CLIENT_SAMPLE_REPLY_H_

#include <cstring>
#include <string>
#include <vector>

#include "client/cli/reply.h"

namespace attribution::cli {

// A slice of whole rows from `first_row` on.
inline MatrixSlice SliceOf(int sequence, int first_row, int columns, const std::vector<float>& cells) {
  MatrixSlice slice;
  slice.sequence_index = sequence;
  slice.first_row = first_row;
  slice.columns = columns;
  slice.rows = static_cast<int>(cells.size()) / columns;
  slice.data.resize(cells.size() * sizeof(float));
  std::memcpy(slice.data.data(), cells.data(), slice.data.size());
  return slice;
}

inline Metrics SomeMetrics(int64_t batch_size, int64_t seq_length) {
  Metrics metrics;
  metrics.mean_attention = 0.5;
  metrics.max_attention = 0.75;
  metrics.attention_entropy = 0.25;
  metrics.attention_concentration = 0.625;
  metrics.batch_size = batch_size;
  metrics.seq_length = seq_length;
  return metrics;  // rollout metrics stay absent
}

// Two sequences, of 2 and 1 tokens, one of which looks like markup.
inline Reply SampleReply() {
  Reply reply;
  reply.model = "tiny";
  reply.texts = {"a <b>", "c"};
  Admitted admitted;
  admitted.estimated_peak_bytes = 2048;
  admitted.num_chunks = 1;
  admitted.num_layers = 1;
  admitted.device = "cpu";
  admitted.model_version = "1";
  admitted.tokens = {{.input_ids = {1, 2}, .tokens = {"a", "<b>"}}, {.input_ids = {3}, .tokens = {"c"}}};
  AttributionResult result;
  result.metrics = SomeMetrics(2, 2);
  result.sequences = {SomeMetrics(1, 2), SomeMetrics(1, 1)};
  result.layers = {LayerMetrics{.layer_idx = 0, .module_path = "encoder.0", .num_rows = 3, .num_cells = 5}};
  result.measured_peak_bytes = 1024;
  for (const Event& event : {Event(admitted), Event(SliceOf(0, 0, 2, {0.5f, 0.5f, 0.1f, 0.9f})),
                             Event(SliceOf(1, 0, 1, {1.0f})), Event(result)}) {
    Collect(event, reply).IgnoreError();
  }
  return reply;
}

}  // namespace attribution::cli

#endif  // ATTRIBUTION_TESTS_CLIENT_SAMPLE_REPLY_H_
