// SequenceFold multiplies the attention of one sequence into its rollout, one layer at a time, a block of
// rows at a time.
//
// Holds R [n, n] in the sequence's own length n; a second [n, n], the spare, is shared by all sequences of a
// chunk. Never holds two layers, except where chosen rows alone are asked for. Padding of the chunk is cut
// off first, so that it cannot matter. One fold belongs to one job. The blocks of a layer may come in any
// order and from several threads at once; all else comes from one thread at a time. The formulas are in
// docs/rollout.md.
#ifndef SERVER_ROLLOUT_ROLLOUT_FOLD_H_
#define SERVER_ROLLOUT_ROLLOUT_FOLD_H_

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "attribution/options.h"
#include "server/rollout/attention_statistics.h"
#include "server/rollout/layer_fold.h"
#include "server/rollout/row_selection.h"
#include "server/rollout/selected_rows.h"
#include "server/rollout/uniform_rollout.h"
#include "server/rollout/valid_positions.h"

namespace attribution::rollout {

class SequenceFold {
 public:
  // Folds a sequence of valid.length() positions. R lives on the device of `tensor_options`, the device of
  // its attention. Given `rows`, the rollout is of those rows alone, R does not exist and no spare is needed.
  // REQUIRES: `options` come from ResolveOptions; `rows` are valid positions and FoldsRowsAlone(options).
  SequenceFold(const ResolvedOptions& options, ValidPositions valid, const at::TensorOptions& tensor_options,
               const std::optional<std::vector<RowRun>>& rows = std::nullopt);

  // Starts layer `layer`, numbered from 0. It is folded if it lies in [start_layer, end_layer], its
  // statistics are taken if `measure` is true, and its head-fused rows, before anything is discarded, go into
  // `kept` unless that is null; a layer of which nothing is wanted is passed over without being looked at.
  // `kept` outlives EndLayer(). REQUIRES: layers come in order, each once.
  void BeginLayer(int32_t layer, bool measure, SelectedRows* kept = nullptr);

  // Takes rows [first_row, first_row + rows) of the layer: `probabilities` [H, rows, C], any floating dtype.
  // They are not changed and not kept. Rows and columns from n on are ignored; columns from C on are 0.
  // `spare` is a flat float32 tensor of at least n * n cells on the same device; EndLayer() needs what this
  // writes. Several threads may call it at once for different rows. REQUIRES: BeginLayer() was called; every
  // row comes once.
  void AddRows(int64_t first_row, const at::Tensor& probabilities, const at::Tensor& spare);

  // Takes the cells of the layer that its own mask leaves visible, in some head, in rows [first_row,
  // first_row + rows): bool [rows, S]. Comes before AddRows() of the same rows, on the same thread, for every
  // row of a layer or for none; without it the cells that are above 0 in some head count as visible. Only
  // UNIFORM_RATIO looks at it.
  void AddVisible(int64_t first_row, const at::Tensor& visible);

  // Makes the folded layer part of R and returns its statistics, empty unless asked for. May swap `spare`
  // with the fold's own buffer if both have the same size. After an error the fold is of no further use.
  // INTERNAL with reason NON_FINITE_ATTENTION or NEGATIVE_ATTENTION, naming the layer, if a valid row holds
  // NaN, Inf or a negative cell; INVALID_ARGUMENT for options.head if this layer has no such head; INTERNAL
  // if rows are missing. REQUIRES: every AddRows() has returned.
  absl::StatusOr<AttentionStatistics> EndLayer(at::Tensor& spare);

  // Returns the rollout of the layers folded so far, [n, n] float32, 0 at invalid positions, or the rows
  // alone that it was asked for, [k, n] in ascending order; of those, computed by the call. Valid until the
  // next EndLayer(). REQUIRES: a layer was folded.
  at::Tensor rollout() const { return layer_fold_->rollout(); }

  // Returns rollout() after options.causal_correction, [n, n] float32, computed anew by each call. REQUIRES:
  // a layer was folded, every row, and a correction was asked for.
  at::Tensor Corrected() const;

  // Returns the statistics of rollout(). REQUIRES: a layer was folded, and every row.
  AttentionStatistics MeasureRollout() const { return MeasureMatrix(rollout(), valid_); }

  const ValidPositions& valid() const { return valid_; }

  // Number of layers folded so far.
  int32_t folded_layers() const { return folded_layers_; }

  // Bytes of the tensors held: n * n cells of R, or what chosen rows need in its place, and a few numbers a
  // row; with UNIFORM_RATIO those of the uniform rollout too.
  int64_t bytes() const;

 private:
  // What the threads that add rows have in common. On the heap, so that a fold can be moved.
  struct Progress {
    std::atomic<int64_t> rows_seen = 0;
    std::atomic<bool> knows_visible = false;
    std::mutex mutex;
    absl::Status error;  // of the smallest row that has one; guarded by mutex
    int64_t error_row = -1;
  };

  bool IsWanted() const { return folds_ || measures_ || kept_ != nullptr; }
  bool HasHead(int64_t first_row, int64_t heads);
  absl::Status CheckLayer(const RowMeasurer::Summary& summary) const;

  const ResolvedOptions options_;
  const ValidPositions valid_;
  RowMeasurer measurer_;
  std::unique_ptr<LayerFold> layer_fold_;
  std::unique_ptr<UniformRollout> uniform_;  // null unless the correction needs it
  int32_t folded_layers_ = 0;

  // Of the current layer.
  int32_t layer_ = -1;
  bool folds_ = false;
  bool measures_ = false;
  SelectedRows* kept_ = nullptr;
  std::unique_ptr<Progress> progress_ = std::make_unique<Progress>();
};

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_ROLLOUT_FOLD_H_
