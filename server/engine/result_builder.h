// ResultBuilder gathers the numbers of all chunks into the result of a request.
//
// Statistics merge exactly, so the result does not depend on how the batch was cut. Not thread-safe: chunks
// of one request run one after the other.
#ifndef SERVER_ENGINE_RESULT_BUILDER_H_
#define SERVER_ENGINE_RESULT_BUILDER_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "attribution/events.h"
#include "attribution/model_info.h"
#include "server/rollout/attention_statistics.h"

namespace attribution::engine {

// Sums over sequences that are reported together: one, a chunk or the batch.
struct SequenceGroup {
  rollout::AttentionStatistics attention;               // of layer layer_idx
  std::optional<rollout::AttentionStatistics> rollout;  // absent: not asked for
  int64_t sequences = 0;
  int64_t longest = 0;

  void Merge(const SequenceGroup& other);
  Metrics ToMetrics() const;
};

// The LayerMetrics of one layer; chunk_index -1 means the whole batch.
LayerMetrics MakeLayerMetrics(const AttentionSite& site, int32_t layer, int32_t chunk_index,
                              const rollout::AttentionStatistics& statistics);

class ResultBuilder {
 public:
  // Merges `statistics` into layer `layer`, which `site` computed.
  void AddLayer(int32_t layer, int32_t site, const rollout::AttentionStatistics& statistics);

  // Sequences come in request order.
  void AddSequence(const SequenceGroup& sequence);

  // Metrics of the batch and of each sequence. With `layer_metrics`, those of each layer that was measured.
  AttributionResult Build(const std::vector<AttentionSite>& sites, bool layer_metrics) const;

 private:
  struct Layer {
    int32_t site = 0;  // of the first sequence that ran it
    rollout::AttentionStatistics statistics;
  };

  std::vector<Layer> layers_;
  std::vector<Metrics> sequences_;
  SequenceGroup batch_;
};

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_RESULT_BUILDER_H_
