// A block of rows goes through four steps, in place where it can:
//
//   cut to the sequence's length, fuse heads     block = A[rows, :]
//   clear invalid rows and columns               nothing of them is left, NaN included
//   measure                                      row sums, smallest cells and, if asked, the statistics
//   keep                                         the rows that will be sent, if any
//
// Then there are two ways on. Row by row, where a row of Ã needs its own row of A only and the later layer
// stands on the left: the block becomes Ã[rows, :] and is multiplied, spare[rows, :] = Ã[rows, :] · R, and
// the spare becomes R at the end of the layer. Whole: the block is put into the spare, which holds all of A
// at the end of the layer; there it is discarded from, becomes Ã in place, and is multiplied into R. No block
// depends on another one either way.

#include "server/rollout/rollout_fold.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/rollout/discard.h"
#include "server/rollout/head_fusion.h"
#include "server/rollout/layer_product.h"

namespace attribution::rollout {

SequenceFold::SequenceFold(const ResolvedOptions& options, ValidPositions valid,
                           const at::TensorOptions& tensor_options)
    : options_(options),
      rules_(RulesOf(options.preset)),
      row_by_row_(FoldsRowByRow(options)),
      valid_(std::move(valid)),
      measurer_(valid_.length(), tensor_options),
      cells_(at::empty({valid_.length() * valid_.length()}, tensor_options.dtype(at::kFloat))) {}

void SequenceFold::BeginLayer(int32_t layer, bool measure, SelectedRows* kept) {
  layer_ = layer;
  folds_ = layer >= options_.start_layer && layer <= options_.end_layer;
  measures_ = measure;
  kept_ = kept;
  progress_->rows_seen = 0;
}

void SequenceFold::AddRows(int64_t first_row, const at::Tensor& probabilities, const at::Tensor& spare) {
  const int64_t length = valid_.length();
  const int64_t rows = std::min(probabilities.size(1), length - first_row);
  if (rows <= 0 || !IsWanted() || !HasHead(first_row, probabilities.size(0))) return;
  at::Tensor block =
      FuseHeads(probabilities.narrow(1, 0, rows).narrow(2, 0, length), options_.head_fusion, options_.head);
  valid_.ClearInvalid(first_row, block);
  measurer_.Measure(first_row, block, measures_);
  if (kept_ != nullptr) kept_->Take(first_row, block);
  if (folds_ && row_by_row_) {
    FoldRows(first_row, block, spare);
  } else if (folds_) {
    AsMatrix(spare).narrow(0, first_row, rows).copy_(block);
  }
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

void SequenceFold::FoldRows(int64_t first_row, at::Tensor& block, const at::Tensor& spare) const {
  const int64_t rows = block.size(0);
  AddResidual(rules_.normalization, options_.residual_weight, valid_, first_row,
              measurer_.row_sums(first_row, rows), block);
  if (folded_layers_ == 0) {
    rollout().narrow(0, first_row, rows).copy_(block);
    return;
  }
  at::Tensor product = AsMatrix(spare).narrow(0, first_row, rows);
  at::mm_out(product, block, rollout());
}

// Multiplies the whole A in `layer` [n, n] into R. Leaves Ã there, or what was left of A.
void SequenceFold::FoldWhole(at::Tensor& layer) {
  const bool first_layer = folded_layers_ == 0;
  if (options_.discard_ratio > 0) DiscardSmallest(options_.discard_ratio, valid_, layer);
  if (!(first_layer && rules_.first_layer_raw)) {
    const at::Tensor row_sums =
        options_.discard_ratio > 0 ? layer.sum(1) : measurer_.row_sums(0, valid_.length());
    AddResidual(rules_.normalization, options_.residual_weight, valid_, /*first_row=*/0, row_sums, layer);
  }
  at::Tensor rollout = this->rollout();
  if (first_layer) {
    rollout.copy_(layer);
  } else if (rules_.later_layer_on_the_right) {
    MultiplyFromTheRight(layer, rollout);
  } else {
    MultiplyFromTheLeft(layer, rollout);
  }
}

// Sequences of the chunk's largest length trade buffers; a shorter one keeps its own, small one.
void SequenceFold::TakeProduct(at::Tensor& spare) {
  if (folded_layers_ == 0) return;  // it went straight into R
  if (spare.numel() == cells_.numel()) {
    std::swap(spare, cells_);
  } else {
    cells_.copy_(spare.narrow(0, 0, cells_.numel()));
  }
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
  if (folds_ && row_by_row_) {
    TakeProduct(spare);
  } else if (folds_) {
    at::Tensor layer = AsMatrix(spare);
    FoldWhole(layer);
  }
  if (folds_) ++folded_layers_;
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

at::Tensor SequenceFold::AsMatrix(const at::Tensor& cells) const {
  const int64_t length = valid_.length();
  return cells.narrow(0, 0, length * length).view({length, length});
}

at::Tensor SequenceFold::rollout() const { return AsMatrix(cells_); }

int64_t SequenceFold::bytes() const {
  return static_cast<int64_t>(cells_.nbytes()) + measurer_.bytes() + valid_.bytes();
}

}  // namespace attribution::rollout
