#include "server/engine/chunk_fold.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/memory/allocation_counter.h"

namespace attribution::engine {
namespace {

// Adds the time it lives to a sum.
class Stopwatch {
 public:
  explicit Stopwatch(std::atomic<int64_t>& nanoseconds)
      : nanoseconds_(nanoseconds), start_(std::chrono::steady_clock::now()) {}
  ~Stopwatch() {
    nanoseconds_ += std::chrono::nanoseconds(std::chrono::steady_clock::now() - start_).count();
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  std::atomic<int64_t>& nanoseconds_;
  const std::chrono::steady_clock::time_point start_;
};

// The last layer that anything is wanted of.
int32_t LastLayer(const PreparedRequest& request) {
  if (request.output.layer_matrices) return request.layers.size() - 1;
  return std::max(request.options.end_layer, request.options.layer_idx);
}

// The positions of a sequence that count.
rollout::ValidPositions PositionsOf(const PreparedRequest& request, int64_t sequence,
                                    const at::TensorOptions& options) {
  const int64_t length = request.LengthOf(sequence);
  const std::vector<int32_t>& mask = request.MaskOf(sequence);
  if (request.options.include_padding) return rollout::ValidPositions::Everywhere(mask, length, options);
  return {mask, length, options};
}

}  // namespace

ChunkFold::ChunkFold(const PreparedRequest& request, int64_t first, int64_t count, LayerDone layer_done,
                     RolloutMethod method, at::Tensor& spare)
    : request_(request),
      layer_done_(std::move(layer_done)),
      method_(method),
      first_sequence_(first),
      last_layer_(LastLayer(request)),
      kept_(count),
      spare_(spare),
      options_(at::TensorOptions().dtype(at::kFloat).device(request.model->runner->description().device)) {
  const memory::AttentionScope scope;
  const bool alone = method == RolloutMethod::kSelectedRows;
  for (int64_t i = 0; i < count; ++i) {
    folds_.emplace_back(request.options, PositionsOf(request, first + i, options_), options_,
                        alone ? std::optional(RowsOf(i)) : std::nullopt);
    padded_length_ = std::max(padded_length_, folds_.back().valid().length());
  }
  const int64_t cells = alone ? 0 : padded_length_ * padded_length_;
  if (!spare_.defined() || spare_.numel() < cells) {
    spare_.reset();
    spare_ = at::empty({cells}, options_);
  }
}

bool ChunkFold::BeginLayer(const capture::LayerShape& shape) {
  if (!status_.ok()) return false;
  const std::vector<int32_t>& order = request_.layers.execution_order();
  if (executions_ == order.size() || order[executions_] != shape.site ||
      shape.batch != static_cast<int64_t>(folds_.size()) || !HasExpectedLength(shape)) {
    status_ = AttentionChanged();
    return false;
  }
  ++executions_;
  if (!request_.layers.Selects(shape.site)) return false;
  ++layer_;
  const bool measure = request_.output.layer_metrics || layer_ == request_.options.layer_idx;
  const bool fold = layer_ >= request_.options.start_layer && layer_ <= request_.options.end_layer;
  const bool keep = request_.output.layer_matrices;
  if (!measure && !fold && !keep) return false;
  if (keep) KeepLayer();
  const memory::AttentionScope scope;
  for (size_t i = 0; i < folds_.size(); ++i) {
    folds_[i].BeginLayer(layer_, measure, keep ? &kept_[i].back() : nullptr);
  }
  layer_statistics_.assign(folds_.size(), {});
  return true;
}

// Token models may pad further by themselves; the length of other models was predicted.
bool ChunkFold::HasExpectedLength(const capture::LayerShape& shape) const {
  if (!request_.tensors.has_value()) return shape.length >= padded_length_;
  return shape.length ==
         request_.model->runner->description().LengthOf(shape.site, request_.tensors->input_length);
}

// Makes room for the chosen rows of the layer that begins. It is output, not the attention's own memory.
void ChunkFold::KeepLayer() {
  for (size_t i = 0; i < folds_.size(); ++i) {
    kept_[i].emplace_back(RowsOf(static_cast<int64_t>(i)), folds_[i].valid().length(),
                          request_.output.encoding, options_);
  }
}

// The rows of sequence `i` of the chunk that are sent.
std::vector<rollout::RowRun> ChunkFold::RowsOf(int64_t i) const {
  const int64_t sequence = first_sequence_ + i;
  return rollout::SelectRows(request_.output.rows, request_.MaskOf(sequence), request_.LengthOf(sequence));
}

bool ChunkFold::WantsVisible() const {
  return request_.options.causal_correction == CausalCorrection::kUniformRatio;
}

void ChunkFold::AddVisible(int64_t sequence, int64_t first_row, const at::Tensor& visible) {
  const memory::AttentionScope scope;
  const Stopwatch stopwatch(fold_nanoseconds_);
  folds_[sequence].AddVisible(first_row, visible);
}

void ChunkFold::AddRows(int64_t sequence, int64_t first_row, const at::Tensor& probabilities) {
  const memory::AttentionScope scope;
  const Stopwatch stopwatch(fold_nanoseconds_);
  folds_[sequence].AddRows(first_row, probabilities, spare_);
}

// The spare is shared, so a sequence takes its product over before the next one begins.
void ChunkFold::EndSequence(int64_t sequence) {
  const memory::AttentionScope scope;
  const Stopwatch stopwatch(fold_nanoseconds_);
  auto statistics = folds_[sequence].EndLayer(spare_);
  status_.Update(statistics.status());
  if (statistics.ok()) layer_statistics_[sequence] = *statistics;
}

bool ChunkFold::EndLayer() {
  if (status_.ok()) layer_done_(layer_, layer_statistics_);
  if (layer_ == request_.options.layer_idx) attention_ = layer_statistics_;
  // After the model's very last site the graph ends by itself.
  const bool ends_anyway = executions_ == request_.layers.execution_order().size();
  return status_.ok() && (layer_ < last_layer_ || ends_anyway);
}

int64_t ChunkFold::bytes() const {
  int64_t bytes = 0;
  for (const rollout::SequenceFold& fold : folds_) bytes += fold.bytes();
  for (const std::vector<rollout::SelectedRows>& layers : kept_) {
    for (const rollout::SelectedRows& rows : layers) bytes += rows.bytes();
  }
  return bytes;
}

absl::Status ChunkFold::Finish() const {
  return !status_.ok() || layer_ >= last_layer_ ? status_ : AttentionChanged();
}

absl::Status ChunkFold::AttentionChanged() const {
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat(
          "The model's attention is not what it was at load. Layers or their shapes depend on the input; "
          "this one ran ",
          executions_, " as expected of ", request_.layers.execution_order().size(),
          ". Add warmup_shapes to the model's manifest that run its other layers too.")),
      "ATTENTION_CHANGED");
}

}  // namespace attribution::engine
