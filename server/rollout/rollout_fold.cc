// A block of rows goes through four steps, in place where it can:
//
//   cut to the sequence's length, fuse heads     block = A[rows, :C], 0 from C on
//   clear invalid rows and columns               nothing of them is left, NaN included
//   measure                                      row sums, smallest cells and, if asked, the statistics
//   keep                                         the rows that will be sent, if any
//
// What is done with it then, where the layer is folded, is the business of a LayerFold. Row by row, where a
// row of Ã needs its own row of A only and the later layer stands on the left; else whole. For chosen rows
// alone: the layers are kept where the later one stands on the left; else rows go forward with the blocks.

#include "server/rollout/rollout_fold.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/rollout/causal_correction.h"
#include "server/rollout/fold_rules.h"
#include "server/rollout/forward_rows_fold.h"
#include "server/rollout/head_fusion.h"
#include "server/rollout/kept_layers_fold.h"
#include "server/rollout/row_by_row_fold.h"
#include "server/rollout/whole_layer_fold.h"

namespace attribution::rollout {
namespace {

std::unique_ptr<LayerFold> MakeLayerFold(const ResolvedOptions& options, const ValidPositions& valid,
                                         const at::TensorOptions& tensor_options,
                                         const std::optional<std::vector<RowRun>>& rows) {
  if (rows.has_value() && RulesOf(options.preset).later_layer_on_the_right) {
    return std::make_unique<ForwardRowsFold>(options, valid, *rows, tensor_options);
  }
  if (rows.has_value()) return std::make_unique<KeptLayersFold>(options, valid, *rows, tensor_options);
  if (FoldsRowByRow(options)) {
    return std::make_unique<RowByRowFold>(options.residual_weight, valid, tensor_options);
  }
  return std::make_unique<WholeLayerFold>(options, valid, tensor_options);
}

}  // namespace

SequenceFold::SequenceFold(const ResolvedOptions& options, ValidPositions valid,
                           const at::TensorOptions& tensor_options,
                           const std::optional<std::vector<RowRun>>& rows)
    : options_(options),
      valid_(std::move(valid)),
      measurer_(valid_.length(), tensor_options),
      layer_fold_(MakeLayerFold(options, valid_, tensor_options, rows)) {
  if (options.causal_correction == CausalCorrection::kUniformRatio) {
    uniform_ = std::make_unique<UniformRollout>(options, valid_, tensor_options);
  }
}

void SequenceFold::BeginLayer(int32_t layer, bool measure, SelectedRows* kept) {
  layer_ = layer;
  folds_ = layer >= options_.start_layer && layer <= options_.end_layer;
  measures_ = measure;
  kept_ = kept;
  progress_->rows_seen = 0;
  progress_->knows_visible = false;
  if (folds_) layer_fold_->BeginLayer();
}

void SequenceFold::AddVisible(int64_t first_row, const at::Tensor& visible) {
  const int64_t length = valid_.length();
  const int64_t rows = std::min(visible.size(0), length - first_row);
  if (rows <= 0 || !folds_ || uniform_ == nullptr) return;
  progress_->knows_visible = true;
  uniform_->AddVisible(first_row, visible.narrow(0, 0, rows).narrow(1, 0, length));
}

void SequenceFold::AddRows(int64_t first_row, const at::Tensor& probabilities, const at::Tensor& spare) {
  const int64_t length = valid_.length();
  const int64_t rows = std::min(probabilities.size(1), length - first_row);
  if (rows <= 0 || !IsWanted() || !HasHead(first_row, probabilities.size(0))) return;
  const int64_t columns = std::min(probabilities.size(2), length);
  const at::Tensor own = probabilities.narrow(1, 0, rows).narrow(2, 0, columns);
  if (folds_ && uniform_ != nullptr && !progress_->knows_visible) uniform_->AddRows(first_row, own);
  at::Tensor block = FuseHeads(own, options_.head_fusion, options_.head);
  const int64_t diagonal_end = first_row + rows;  // the residual is added there
  if (columns < diagonal_end) block = at::constant_pad_nd(block, {0, diagonal_end - columns});
  valid_.ClearInvalid(first_row, block);
  measurer_.Measure(first_row, block, measures_);
  if (kept_ != nullptr) kept_->Take(first_row, block);
  if (folds_) layer_fold_->AddBlock(first_row, measurer_.row_sums(first_row, rows), block, spare);
  progress_->rows_seen += rows;
}

// Keeps the error of the smallest row, so that it does not show which thread was first.
bool SequenceFold::HasHead(int64_t first_row, int64_t heads) {
  if (!options_.head.has_value() || *options_.head < heads) return true;
  const std::lock_guard lock(progress_->mutex);
  if (progress_->error_row >= 0 && progress_->error_row <= first_row) return false;
  progress_->error_row = first_row;
  progress_->error = InvalidField(
      "options.head", absl::StrCat("Head number out of range. head is ", *options_.head, " and layer ",
                                   layer_, " has ", heads, " heads. Choose a head that every layer has."));
  return false;
}

absl::StatusOr<AttentionStatistics> SequenceFold::EndLayer(at::Tensor& spare) {
  if (!IsWanted()) return AttentionStatistics();
  {
    const std::lock_guard lock(progress_->mutex);
    if (!progress_->error.ok()) return progress_->error;
  }
  if (progress_->rows_seen != valid_.length()) {
    return absl::InternalError(absl::StrCat("Attention rows are missing. Layer ", layer_, " gave ",
                                            progress_->rows_seen.load(), " rows of ", valid_.length(),
                                            ". Please report this as a bug."));
  }
  const RowMeasurer::Summary summary = measurer_.Summarize(valid_, measures_);
  if (absl::Status status = CheckLayer(summary); !status.ok()) return status;
  if (folds_) {
    layer_fold_->EndLayer(measurer_.row_sums(0, valid_.length()), spare);
    if (uniform_ != nullptr) uniform_->EndLayer();
    ++folded_layers_;
  }
  return measures_ ? summary.statistics : AttentionStatistics();
}

absl::Status SequenceFold::CheckLayer(const RowMeasurer::Summary& summary) const {
  const std::string shape = absl::StrCat(" of [", valid_.length(), ", ", valid_.length(), "]");
  if (summary.non_finite_row >= 0) {
    return WithReason(
        absl::InternalError(absl::StrCat(
            "Attention holds NaN or Inf. Layer ", layer_, ", row ", summary.non_finite_row, shape,
            ". Check the model's weights and mask; a half-precision model may overflow.")),
        "NON_FINITE_ATTENTION");
  }
  if (summary.negative_row >= 0) {
    return WithReason(
        absl::InternalError(absl::StrCat(
            "Attention holds a negative cell. Layer ", layer_, ", row ", summary.negative_row, shape,
            ", smallest cell ", summary.smallest_cell, ". Give probabilities, as they leave the softmax.")),
        "NEGATIVE_ATTENTION");
  }
  return absl::OkStatus();
}

at::Tensor SequenceFold::Corrected() const {
  return uniform_ != nullptr ? DivideByUniform(rollout(), uniform_->rollout())
                             : DropFirstColumn(rollout(), valid_);
}

int64_t SequenceFold::bytes() const {
  return layer_fold_->bytes() + measurer_.bytes() + valid_.bytes() +
         (uniform_ != nullptr ? uniform_->bytes() : 0);
}

}  // namespace attribution::rollout
