#include "server/capture/measured_cost.h"

#include <algorithm>
#include <utility>

#include "server/capture/activation_cost.h"
#include "server/capture/warm_up.h"
#include "server/memory/allocation_counter.h"

namespace attribution::capture {
namespace {

// Wants no layer: the forward pass runs as it would without us.
class IndifferentObserver : public AttentionObserver {
 public:
  bool BeginLayer(const LayerShape&) override { return false; }
  void AddRows(int64_t, int64_t, const at::Tensor&) override {}
  void EndSequence(int64_t) override {}
  bool EndLayer() override { return true; }
};

// Other inputs are tried where a model refuses some, as at its first runs.
constexpr uint64_t kAttempts = 4;

absl::StatusOr<int64_t> PeakBytes(const ModelRunner& runner, int64_t batch_size, int64_t length) {
  const ModelDescription& description = runner.description();
  absl::Status failure;
  for (uint64_t seed = 0; seed < kAttempts; ++seed) {
    const WarmUpBatch batch = MakeWarmUpBatch(description.inputs, batch_size, length,
                                              description.vocabulary_size, seed, description.device);
    memory::AllocationCounter counter;
    IndifferentObserver observer;
    const memory::AllocationScope scope(counter);
    failure = runner.Run(batch.inputs, observer);
    if (failure.ok()) return counter.peak_bytes();
  }
  return failure;
}

// Eager attention holds scores, probabilities and a temporary of one layer together, [B, H, S, S] float32
// each. On the short runs at load other tensors are larger and hide them.
double LeastBytesPerCell(const ModelDescription& description) {
  constexpr double kMatricesTogether = 3;
  double matrices = 0;  // of one head, beside each other
  for (size_t i = 0; i < description.sites.size(); ++i) {
    const SiteKind kind = description.sites[i].kind;
    if (kind == SiteKind::kTapped) matrices = std::max(matrices, kMatricesTogether * description.num_heads);
    if (kind == SiteKind::kReturned) matrices += description.site_heads[i];
  }
  return matrices * sizeof(float);
}

// Convolutions take another way for very short inputs, with scratch of its own. Raises the fixed bytes to
// what such runs need, then the bytes a token to what many short sequences need, of which each has some bytes
// whatever its length. A length that the model cannot take needs nothing.
void AddShortRuns(const ModelRunner& runner, ActivationCost& cost) {
  for (const auto& [batch, length] : {std::pair<int64_t, int64_t>{1, 1}, {2, 1}, {2, 2}, {2, 3}}) {
    const auto peak = PeakBytes(runner, batch, length);
    if (!peak.ok()) continue;
    const auto tokens = static_cast<double>(batch * length);
    cost.fixed_bytes = std::max(cost.fixed_bytes, static_cast<double>(*peak) - tokens * cost.bytes_per_token);
  }
  constexpr int64_t kManySequences = 64;
  constexpr int64_t kShort = 3;
  const auto peak = PeakBytes(runner, kManySequences, kShort);
  if (!peak.ok()) return;
  constexpr double kTokens = kManySequences * kShort;
  cost.bytes_per_token =
      std::max(cost.bytes_per_token, (static_cast<double>(*peak) - cost.fixed_bytes) / kTokens);
}

}  // namespace

absl::StatusOr<ActivationCost> MeasureActivationCost(const ModelRunner& runner, int64_t shortest_length) {
  const ModelDescription& description = runner.description();
  if (!HasFreeLength(description.inputs)) {
    return FitActivationCostOfFixedSize([&](int64_t batch) { return PeakBytes(runner, batch, 1); },
                                        description.LongestLength(1));
  }
  const auto peak_bytes = [&](int64_t batch, int64_t length) { return PeakBytes(runner, batch, length); };
  // A model of tensors may need a length of its own, such as a second of sound: one of the runs has half.
  auto cost = description.takes_tensors()
                  ? FitActivationCost(peak_bytes, description.max_sequence_length, 2 * shortest_length)
                  : FitActivationCost(peak_bytes, description.max_sequence_length);
  if (!cost.ok()) return cost;
  if (description.takes_tensors()) AddShortRuns(runner, *cost);
  cost->bytes_per_cell = std::max(cost->bytes_per_cell, LeastBytesPerCell(description));
  return cost;
}

}  // namespace attribution::capture
