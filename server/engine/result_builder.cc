#include "server/engine/result_builder.h"

#include <algorithm>

#include "server/rollout/metrics.h"

namespace attribution::engine {

void SequenceGroup::Merge(const SequenceGroup& other) {
  attention.Merge(other.attention);
  if (other.rollout.has_value()) {
    if (!rollout.has_value()) rollout.emplace();
    rollout->Merge(*other.rollout);
  }
  sequences += other.sequences;
  longest = std::max(longest, other.longest);
}

Metrics SequenceGroup::ToMetrics() const {
  return rollout::MakeMetrics(attention, rollout, sequences, longest);
}

LayerMetrics MakeLayerMetrics(const AttentionSite& site, int32_t layer, int32_t chunk_index,
                              const rollout::AttentionStatistics& statistics) {
  LayerMetrics metrics;
  metrics.layer_idx = layer;
  metrics.site_index = site.index;
  metrics.module_path = site.module_path;
  metrics.chunk_index = chunk_index;
  rollout::FillLayerMetrics(statistics, metrics);
  return metrics;
}

void ResultBuilder::AddLayer(int32_t layer, int32_t site, const rollout::AttentionStatistics& statistics) {
  while (layer >= static_cast<int32_t>(layers_.size())) layers_.push_back({site, {}});
  layers_[layer].statistics.Merge(statistics);
}

void ResultBuilder::AddSequence(const SequenceGroup& sequence) {
  sequences_.push_back(sequence.ToMetrics());
  batch_.Merge(sequence);
}

AttributionResult ResultBuilder::Build(const std::vector<AttentionSite>& sites, bool layer_metrics) const {
  AttributionResult result;
  result.metrics = batch_.ToMetrics();
  result.sequences = sequences_;
  for (size_t layer = 0; layer_metrics && layer < layers_.size(); ++layer) {
    result.layers.push_back(MakeLayerMetrics(sites[layers_[layer].site], static_cast<int32_t>(layer), -1,
                                             layers_[layer].statistics));
  }
  return result;
}

}  // namespace attribution::engine
