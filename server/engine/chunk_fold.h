// ChunkFold folds the layers of one chunk into the rollouts of its sequences while the model runs.
//
// One per request of a chunk; lives on the worker that runs it. Holds one rollout a sequence (or what chosen
// rows need instead) and, if layers are sent, their chosen rows until the chunk ends. The spare, to which the
// next rollout is written, is one for all of a chunk.
#ifndef SERVER_ENGINE_CHUNK_FOLD_H_
#define SERVER_ENGINE_CHUNK_FOLD_H_

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/capture/attention_observer.h"
#include "server/engine/layer_selection.h"
#include "server/engine/request_intake.h"
#include "server/rollout/attention_statistics.h"
#include "server/rollout/rollout_fold.h"
#include "server/rollout/selected_rows.h"

namespace attribution::engine {

class ChunkFold : public capture::AttentionObserver {
 public:
  // Called when a layer is complete, with its statistics of each sequence (empty unless the layer is
  // measured).
  using LayerDone =
      std::function<void(int32_t layer, const std::vector<rollout::AttentionStatistics>& sequences)>;

  // Folds sequences [first, first + count) of `request`: whole rollouts, or the request's rows of them alone.
  // `spare` is made large enough for them. `request` and `spare` outlive the fold. REQUIRES: for
  // kSelectedRows, nothing that is asked for needs more.
  ChunkFold(const PreparedRequest& request, int64_t first, int64_t count, LayerDone layer_done,
            RolloutMethod method, at::Tensor& spare);

  bool BeginLayer(const capture::LayerShape& shape) override;
  bool WantsVisible() const override;
  void AddVisible(int64_t sequence, int64_t first_row, const at::Tensor& visible) override;
  void AddRows(int64_t sequence, int64_t first_row, const at::Tensor& probabilities) override;
  void EndSequence(int64_t sequence) override;
  bool EndLayer() override;

  // Ends the fold with `status`, unless it has failed before. REQUIRES: no layer is under way.
  void Fail(absl::Status status) { status_.Update(std::move(status)); }
  bool has_failed() const { return !status_.ok(); }

  // Bytes of the rollouts, and of the layers kept so far.
  int64_t bytes() const;

  // Why the pass was stopped; OK if it saw every layer that the options ask for.
  absl::Status Finish() const;

  // Time spent on measuring and folding so far, summed over the threads that do it. On an accelerator: on
  // giving it the work.
  absl::Duration fold_time() const { return absl::Nanoseconds(fold_nanoseconds_.load()); }

  // Whether the rollouts hold every row, or the request's alone.
  RolloutMethod method() const { return method_; }

  // Statistics of layer `layer_idx`, and the rollout, of sequence `i` of the chunk. REQUIRES: Finish() is OK.
  const rollout::AttentionStatistics& attention(int64_t i) const { return attention_[i]; }
  const rollout::SequenceFold& fold(int64_t i) const { return folds_[i]; }

  // Gives away the chosen rows of each layer of sequence `i`; none if layer matrices were not asked for.
  // REQUIRES: Finish() is OK.
  std::vector<rollout::SelectedRows> TakeLayers(int64_t i) { return std::move(kept_[i]); }

 private:
  absl::Status AttentionChanged() const;
  bool HasExpectedLength(const capture::LayerShape& shape) const;
  void KeepLayer();
  std::vector<rollout::RowRun> RowsOf(int64_t i) const;

  const PreparedRequest& request_;
  const LayerDone layer_done_;
  const RolloutMethod method_;
  const int64_t first_sequence_;
  const int32_t last_layer_;  // the last one that is needed
  std::vector<rollout::SequenceFold> folds_;
  std::vector<std::vector<rollout::SelectedRows>> kept_;  // [B][layers so far]
  std::vector<rollout::AttentionStatistics> attention_;   // of layer_idx
  at::Tensor& spare_;
  const at::TensorOptions options_;                             // of what is folded
  std::vector<rollout::AttentionStatistics> layer_statistics_;  // of the current layer
  int32_t layer_ = -1;                                          // the current one
  int64_t padded_length_ = 0;
  size_t executions_ = 0;  // of any site
  absl::Status status_;
  std::atomic<int64_t> fold_nanoseconds_ = 0;
};

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_CHUNK_FOLD_H_
