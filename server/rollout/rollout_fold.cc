// A block of rows goes through five steps, in place where it can:
//
//   cut to the sequence's length, fuse heads     block = A[rows, :]
//   clear invalid rows and columns               nothing of them is left, NaN included
//   measure                                      row sums, smallest cells and, if asked, the statistics
//   residual and normalisation                   block = Ã[rows, :]
//   multiply                                     into the spare, because all of the old R is still needed
//
// With the later layer on the left, rows of the new R need the same rows of Ã and all of R:   spare[rows, :]
// = Ã[rows, :] · R. With the later layer on the right they need all of Ã, whose blocks therefore add up:
// spare += R[:, rows] · Ã[rows, :].

#include "server/rollout/rollout_fold.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/rollout/head_fusion.h"

namespace attribution::rollout {
namespace {

constexpr double kSmallestRowSum = 1e-10;

// Returns whether the later layer multiplies from the right, and the first one is taken raw.
bool MultipliesFromTheRight(const ResolvedOptions& options) { return options.preset == Preset::kIclrMetrics; }

}  // namespace

SequenceFold::SequenceFold(const ResolvedOptions& options, ValidPositions valid,
                           const at::TensorOptions& tensor_options)
    : options_(options),
      valid_(std::move(valid)),
      measurer_(valid_.length(), tensor_options),
      cells_(at::empty({valid_.length() * valid_.length()}, tensor_options.dtype(at::kFloat))) {}

void SequenceFold::BeginLayer(int32_t layer, bool measure) {
  layer_ = layer;
  folds_ = layer >= options_.start_layer && layer <= options_.end_layer;
  measures_ = measure;
  rows_seen_ = 0;
}

void SequenceFold::AddRows(int64_t first_row, const at::Tensor& probabilities, at::Tensor& spare) {
  const int64_t length = valid_.length();
  const int64_t rows = std::min(probabilities.size(1), length - first_row);
  if (rows <= 0 || !error_.ok() || !(folds_ || measures_)) return;
  if (options_.head.has_value() && *options_.head >= probabilities.size(0)) {
    error_ = InvalidField("options.head", absl::StrCat("Head number out of range. head is ", *options_.head,
                                                       " and layer ", layer_, " has ", probabilities.size(0),
                                                       " heads. Choose a head that every layer has."));
    return;
  }
  at::Tensor block =
      FuseHeads(probabilities.narrow(1, 0, rows).narrow(2, 0, length), options_.head_fusion, options_.head);
  valid_.ClearInvalid(first_row, block);
  measurer_.Measure(first_row, block, measures_);
  if (folds_) Fold(first_row, block, spare);
  rows_seen_ += rows;
}

void SequenceFold::Fold(int64_t first_row, at::Tensor& block, const at::Tensor& spare) {
  const int64_t length = valid_.length();
  const int64_t rows = block.size(0);
  const at::Tensor old_rollout = cells_.view({length, length});
  const bool from_the_right = MultipliesFromTheRight(options_);
  const bool first_layer = folded_layers_ == 0;
  if (!(first_layer && from_the_right)) AddResidual(first_row, block);
  if (first_layer) {
    old_rollout.narrow(0, first_row, rows).copy_(block);
    return;
  }
  at::Tensor product = spare.narrow(0, 0, length * length).view({length, length});
  if (from_the_right) {
    // A beta of 0 ignores what the spare held before.
    const double beta = first_row == 0 ? 0.0 : 1.0;
    at::addmm_out(product, product, old_rollout.narrow(1, first_row, rows), block, beta, 1.0);
  } else {
    at::Tensor product_rows = product.narrow(0, first_row, rows);
    at::mm_out(product_rows, block, old_rollout);
  }
}

// Turns A into rn((1-ρ)·A + ρ·I). The row sums of A are known already, so those of the sum need no second
// pass: rowsum((1-ρ)·A + ρ·I) = (1-ρ)·rowsum(A) + ρ. The identity has no ones at invalid positions; their
// rows stay 0.
void SequenceFold::AddResidual(int64_t first_row, at::Tensor& block) const {
  const int64_t rows = block.size(0);
  const double residual = options_.residual_weight;
  const double kept = 1.0 - residual;
  at::Tensor sums = measurer_.row_sums(first_row, rows).mul(kept);
  at::Tensor identity;
  if (valid_.all()) {
    sums.add_(residual);
  } else {
    identity = valid_.indicator().narrow(0, first_row, rows);
    sums.add_(identity, residual);
  }
  const at::Tensor scale = sums.clamp_min_(kSmallestRowSum).reciprocal_();
  block.mul_(scale.mul(kept).unsqueeze(1));
  at::Tensor diagonal = block.diagonal(first_row);
  if (valid_.all()) {
    diagonal.add_(scale, residual);
  } else {
    diagonal.addcmul_(scale, identity, residual);
  }
}

absl::StatusOr<AttentionStatistics> SequenceFold::EndLayer(at::Tensor& spare) {
  if (!folds_ && !measures_) return AttentionStatistics();
  if (!error_.ok()) return error_;
  if (rows_seen_ != valid_.length()) {
    return absl::InternalError(absl::StrCat("Attention rows are missing. Layer ", layer_, " gave ",
                                            rows_seen_, " rows of ", valid_.length(),
                                            ". Please report this as a bug."));
  }
  const RowMeasurer::Summary summary = measurer_.Summarize(valid_, measures_);
  if (absl::Status status = CheckLayer(summary); !status.ok()) return status;
  if (folds_ && folded_layers_ > 0) {
    // Sequences of the chunk's largest length trade buffers; a shorter one keeps its own, small one.
    if (spare.numel() == cells_.numel()) {
      std::swap(spare, cells_);
    } else {
      cells_.copy_(spare.narrow(0, 0, cells_.numel()));
    }
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

at::Tensor SequenceFold::rollout() const { return cells_.view({valid_.length(), valid_.length()}); }

int64_t SequenceFold::bytes() const {
  return static_cast<int64_t>(cells_.nbytes()) + measurer_.bytes() + valid_.bytes();
}

}  // namespace attribution::rollout
