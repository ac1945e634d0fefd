#include "server/capture/measured_cost.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <utility>
#include <vector>

#include "server/capture/activation_cost.h"
#include "server/capture/blocked_attention.h"
#include "server/capture/warm_up.h"
#include "server/memory/allocation_counter.h"

namespace attribution::capture {
namespace {

// What an observer that folds makes of a block at a time: the fused rows and a temporary of the statistics.
constexpr int64_t kFoldBytesPerCell = 8;

// Looks at every layer, allocates nothing, and notes the bytes that live. Between two layers that is the
// forward pass's own moment. While a layer is shown it is the attention's: what the operator takes before it
// shows anything, to read masks for example, does not fall together with what the fold makes of a block.
class MomentObserver : public AttentionObserver {
 public:
  MomentObserver(memory::AllocationCounter& counter, c10::Device device)
      : counter_(counter), device_(device) {}

  bool BeginLayer(const LayerShape& shape) override {
    EndForward();
    shape_ = shape;
    shown_bytes_ = 0;
    score_bytes_ = 0;
    return true;
  }

  void AddRows(int64_t, int64_t, const at::Tensor& probabilities) override {
    const int64_t live = counter_.live_bytes();
    const std::lock_guard lock(mutex_);
    shown_bytes_ = std::max(shown_bytes_, live);
    score_bytes_ = shape_.heads * std::max<int64_t>(probabilities.element_size(), sizeof(float));
  }

  void EndSequence(int64_t) override {}

  bool EndLayer() override {
    const int64_t operator_bytes = counter_.TakeRecentPeak();
    int64_t attention = shown_bytes_;
    if (shape_.in_blocks) {
      const int64_t cells = RowsAtOnce(shape_.length, device_) * shape_.length;
      attention = std::max(shown_bytes_, operator_bytes - kFoldBytesPerCell * cells) - score_bytes_ * cells;
      run_.score_bytes_per_cell = std::max(run_.score_bytes_per_cell, static_cast<double>(score_bytes_));
    }
    run_.attention_bytes = std::max(run_.attention_bytes, attention);
    return true;
  }

  // Notes the moment that ends here.
  void EndForward() { run_.forward_bytes = std::max(run_.forward_bytes, counter_.TakeRecentPeak()); }

  const MeasuredRun& run() const { return run_; }

 private:
  memory::AllocationCounter& counter_;
  const c10::Device device_;
  MeasuredRun run_;
  std::mutex mutex_;  // of blocks that come at once
  // Of the current layer.
  LayerShape shape_;
  int64_t shown_bytes_ = 0;
  int64_t score_bytes_ = 0;  // of a cell of the block, of all heads
};

// Other inputs are tried where a model refuses some, as at its first runs.
constexpr uint64_t kAttempts = 4;

absl::StatusOr<MeasuredRun> RunOnce(const ModelRunner& runner, int64_t batch_size, int64_t length) {
  const ModelDescription& description = runner.description();
  absl::Status failure;
  for (uint64_t seed = 0; seed < kAttempts; ++seed) {
    const WarmUpBatch batch = MakeWarmUpBatch(description.inputs, batch_size, length,
                                              description.vocabulary_size, seed, description.device);
    memory::AllocationCounter counter;
    MomentObserver observer(counter, description.device);
    const memory::AllocationScope scope(counter);
    failure = runner.Run(batch.inputs, observer);
    observer.EndForward();
    if (failure.ok()) return observer.run();
  }
  return failure;
}

constexpr double kLongestRun = 256;

// The short runs do not show what tapped attention takes a cell, [B, H, S, S]: other tensors are larger
// there. It holds scores, probabilities and a temporary of one layer together at most. Returns that, or what
// a run that is long enough to show it allocates beyond `cost`.
double TappedBytesPerCell(const ModelRunner& runner, const ActivationCost& cost) {
  constexpr double kMatricesTogether = 3;
  const ModelDescription& description = runner.description();
  int32_t heads = 0;
  for (size_t i = 0; i < description.sites.size(); ++i) {
    if (description.sites[i].kind == SiteKind::kTapped) heads = std::max(heads, description.site_heads[i]);
  }
  const double most = kMatricesTogether * sizeof(float) * heads;
  if (heads == 0 || description.takes_tensors()) return most;
  const MomentCost& forward = cost.ranges.front().forward;
  const MomentCost& attention = cost.ranges.back().attention;
  double length = std::ceil(2 * forward.bytes_per_token / (static_cast<double>(sizeof(float)) * heads));
  if (description.max_sequence_length > 0)
    length = std::min(length, static_cast<double>(description.max_sequence_length));
  if (length < 1 || length > kLongestRun) return most;
  const auto run = RunOnce(runner, 1, static_cast<int64_t>(length));
  if (!run.ok()) return most;
  const double beyond = static_cast<double>(run->forward_bytes) - attention.fixed_bytes -
                        length * (attention.bytes_per_token + attention.bytes_per_position);
  return std::min(most, beyond / (length * length));
}

// Attention that is returned exists as a whole, of all layers.
double ReturnedBytesPerCell(const ModelDescription& description) {
  int32_t matrices = 0;
  for (size_t i = 0; i < description.sites.size(); ++i) {
    if (description.sites[i].kind == SiteKind::kReturned) matrices += description.site_heads[i];
  }
  return matrices * static_cast<double>(sizeof(float));
}

// Convolutions take another way for very short inputs, with scratch of its own. Raises the fixed bytes to
// what such runs need, then the bytes a token to what many short sequences need, of which each has some bytes
// whatever its length. A length that the model cannot take needs nothing.
void AddShortRuns(const ModelRunner& runner, MomentCost& cost) {
  for (const auto& [batch, length] : {std::pair<int64_t, int64_t>{1, 1}, {2, 1}, {2, 2}, {2, 3}}) {
    const auto run = RunOnce(runner, batch, length);
    if (!run.ok()) continue;
    const auto tokens = static_cast<double>(batch * length);
    cost.fixed_bytes =
        std::max(cost.fixed_bytes, static_cast<double>(run->forward_bytes) - tokens * cost.bytes_per_token);
  }
  constexpr int64_t kManySequences = 64;
  constexpr int64_t kShort = 3;
  const auto run = RunOnce(runner, kManySequences, kShort);
  if (!run.ok()) return;
  constexpr double kTokens = kManySequences * kShort;
  cost.bytes_per_token =
      std::max(cost.bytes_per_token, (static_cast<double>(run->forward_bytes) - cost.fixed_bytes) / kTokens);
}

constexpr int64_t kShortRun = 8;  // positions

// The lengths of the runs. A model of tensors may need a length of its own, such as a second of sound: the
// run of many sequences has half.
std::vector<int64_t> RunLengths(const ModelDescription& description, int64_t shortest_length) {
  constexpr int64_t kSmallModel = 8 << 20;  // bytes; longer runs of it take no time
  if (description.takes_tensors()) return {2 * shortest_length};
  if (description.resident_bytes > kSmallModel) return {kShortRun};
  return {kShortRun, 40};
}

// What lengths below `length` take: no more than in proportion to it. The runs, all longer, may show more.
MomentCost InProportion(const MomentCost& cost, double length) {
  return {.bytes_per_token =
              cost.bytes_per_token + length * cost.bytes_per_cell + cost.bytes_per_sequence / length,
          .bytes_per_position = cost.bytes_per_position + length * cost.bytes_per_square,
          .fixed_bytes = cost.fixed_bytes};
}

void AddShorterLengths(int64_t shortest_run, ActivationCost& cost) {
  if (shortest_run <= 1) return;
  RangeCost& runs = cost.ranges.front();
  const auto length = static_cast<double>(shortest_run);
  const RangeCost shorter = {1, InProportion(runs.forward, length), InProportion(runs.attention, length)};
  runs.from_length = shortest_run;
  cost.ranges.insert(cost.ranges.begin(), shorter);
}

// The batch that a chunk makes of token sequences, tensors being the request's own, and what the fold keeps
// of its masks.
void AddInputs(const ModelDescription& description, ActivationCost& cost) {
  constexpr double kValidBytes = 5;  // of a padded sequence, for each position whether it counts
  const double inputs = description.takes_tensors() ? 0 : static_cast<double>(description.inputs.size());
  const double bytes = inputs * sizeof(int64_t) + (description.has_mask() ? kValidBytes : 0);
  for (RangeCost& range : cost.ranges) {
    for (MomentCost* moment : {&range.forward, &range.attention}) moment->bytes_per_token += bytes;
  }
}

}  // namespace

absl::StatusOr<ActivationCost> MeasureActivationCost(const ModelRunner& runner, int64_t shortest_length) {
  const ModelDescription& description = runner.description();
  if (!HasFreeLength(description.inputs)) {
    auto fixed = FitActivationCostOfFixedSize([&](int64_t batch) { return RunOnce(runner, batch, 1); },
                                              description.LongestLength(1));
    if (fixed.ok()) AddInputs(description, *fixed);
    return fixed;
  }
  const auto run = [&](int64_t batch, int64_t length) { return RunOnce(runner, batch, length); };
  auto cost =
      FitActivationCost(run, description.max_sequence_length, RunLengths(description, shortest_length));
  if (!cost.ok()) return cost;
  if (description.takes_tensors()) AddShortRuns(runner, cost->ranges.front().forward);
  double& per_cell = cost->ranges.back().attention.bytes_per_cell;
  per_cell = std::max({per_cell, TappedBytesPerCell(runner, *cost), ReturnedBytesPerCell(description)});
  if (!description.takes_tensors())
    AddShorterLengths(description.max_sequence_length > 0
                          ? std::min(kShortRun, description.max_sequence_length / 3)
                          : kShortRun,
                      *cost);
  AddInputs(description, *cost);
  return cost;
}

}  // namespace attribution::capture
