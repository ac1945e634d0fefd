#include "tests/benchmark/folded_forward.h"

#include <ATen/ATen.h>

#include <vector>

#include "server/rollout/rollout_fold.h"

namespace attribution::benchmark {
namespace {

// Folds every layer of a batch without padding, as the engine's ChunkFold does.
class FoldingObserver : public capture::AttentionObserver {
 public:
  FoldingObserver(const Shape& shape, int32_t num_layers, bool whole_rows)
      : whole_rows_(whole_rows), spare_(at::empty({shape.length * shape.length}, at::kFloat)) {
    ResolvedOptions options;
    options.layer_idx = num_layers - 1;
    options.end_layer = num_layers - 1;
    for (int64_t i = 0; i < shape.batch; ++i) {
      folds_.emplace_back(options, rollout::ValidPositions({}, shape.length, spare_.options()),
                          spare_.options());
    }
  }

  bool NeedsWholeRows() const override { return whole_rows_; }

  bool BeginLayer(const capture::LayerShape&) override {
    ++layer_;
    for (rollout::SequenceFold& fold : folds_) fold.BeginLayer(layer_, /*measure=*/false);
    return true;
  }

  void AddRows(int64_t sequence, int64_t first_row, const at::Tensor& probabilities) override {
    folds_[sequence].AddRows(first_row, probabilities, spare_);
  }

  void EndSequence(int64_t sequence) override { Require(folds_[sequence].EndLayer(spare_).status()); }
  bool EndLayer() override { return true; }

  Metrics Result() const {
    rollout::AttentionStatistics statistics;
    for (const rollout::SequenceFold& fold : folds_) statistics.Merge(fold.MeasureRollout());
    Metrics metrics;
    metrics.rollout_max = statistics.max_cell;
    metrics.rollout_entropy = statistics.entropy();
    return metrics;
  }

 private:
  const bool whole_rows_;
  at::Tensor spare_;
  std::vector<rollout::SequenceFold> folds_;
  int32_t layer_ = -1;
};

}  // namespace

FoldedForward::FoldedForward(const std::string& repository, const ModelFacts& model, int threads,
                             bool whole_rows)
    : RunnerContender(repository, model, threads), whole_rows_(whole_rows) {}

double FoldedForward::Run(int64_t repetitions) {
  return SecondsPerRun(repetitions, [&] {
    const c10::InferenceMode inference;
    FoldingObserver observer({inputs()[0].size(0), inputs()[0].size(1)},
                             static_cast<int32_t>(model().num_layers), whole_rows_);
    Require(runner().Run(inputs(), observer));
    metrics_ = observer.Result();
  });
}

}  // namespace attribution::benchmark
