#include "server/rollout/attention_stream.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/rollout/metrics.h"

namespace attribution::rollout {
namespace {

static_assert(std::endian::native == std::endian::little, "Cells are taken as they come, little-endian.");

// Cells converted at a time, and rows folded at a time: what bounds the temporaries.
constexpr int64_t kCellsAtATime = 1 << 16;
constexpr int64_t kRowsAtATime = 128;

at::ScalarType ScalarTypeOf(TensorDtype dtype) {
  if (dtype == TensorDtype::kFloat16) return at::kHalf;
  return dtype == TensorDtype::kBfloat16 ? at::kBFloat16 : at::kFloat;
}

std::vector<int32_t> MaskOf(const AttentionHeader& header, int64_t b) {
  return header.masks.empty() ? std::vector<int32_t>() : header.masks[b];
}

// Heads are fused before the fold sees them.
ResolvedOptions FoldOptions(ResolvedOptions options) {
  options.head.reset();
  options.head_fusion = HeadFusion::kMean;
  return options;
}

}  // namespace

absl::StatusOr<AttentionStream> AttentionStream::Make(AttentionHeader header, const ResolvedOptions& options,
                                                      const at::TensorOptions& tensor_options) {
  if (absl::Status status = CheckHeader(header); !status.ok()) return status;
  return AttentionStream(std::move(header), options, tensor_options);
}

AttentionStream::AttentionStream(AttentionHeader header, const ResolvedOptions& options,
                                 const at::TensorOptions& tensor_options)
    : header_(std::move(header)),
      options_(options),
      spare_(at::empty({MatrixCells()}, tensor_options.dtype(at::kFloat))),
      heads_(header_.heads, header_.length, options.head_fusion, options.head, tensor_options) {
  for (int64_t b = 0; b < header_.batch; ++b) {
    const std::vector<int32_t> mask = MaskOf(header_, b);
    ValidPositions valid = options.include_padding
                               ? ValidPositions::Everywhere(mask, header_.length, tensor_options)
                               : ValidPositions(mask, header_.length, tensor_options);
    folds_.emplace_back(FoldOptions(options), std::move(valid), tensor_options);
  }
}

absl::Status AttentionStream::Append(int32_t layer, int64_t offset, std::string_view bytes) {
  if (error_.ok()) error_ = CheckPiece(layer, offset, static_cast<int64_t>(bytes.size()));
  if (error_.ok()) error_ = Take(bytes);
  return error_;
}

absl::Status AttentionStream::CheckPiece(int32_t layer, int64_t offset, int64_t size) const {
  if (layer != completed_layers() || layer == header_.layers) {
    return InvalidField(
        "piece.layer",
        absl::StrCat("A layer is out of order. The piece is of layer ", layer, " of ", header_.layers, "; ",
                     completed_layers(), " are complete, of ", LayerText(), " ", next_byte_, " bytes of ",
                     LayerBytes(header_), " came. Send layers from 0 on, each whole and once."));
  }
  if (offset != next_byte_) {
    return InvalidField("piece.offset", absl::StrCat("A piece is out of order. It begins at byte ", offset,
                                                     " of ", LayerText(), "; byte ", next_byte_,
                                                     " is next. Send pieces without gaps."));
  }
  if (size > LayerBytes(header_) - next_byte_) {
    return InvalidField(
        "piece.data", absl::StrCat("A layer has too many bytes. With this piece of ", size, " bytes, ",
                                   next_byte_, " came before it; ", LayerText(), " has ", LayerBytes(header_),
                                   ". Check the sizes and dtype of the header."));
  }
  return absl::OkStatus();
}

absl::Status AttentionStream::Take(std::string_view bytes) {
  next_byte_ += static_cast<int64_t>(bytes.size());
  const auto cell_bytes = static_cast<size_t>(CellBytes(header_));
  if (!part_of_cell_.empty()) {
    const size_t missing = std::min(cell_bytes - part_of_cell_.size(), bytes.size());
    part_of_cell_.append(bytes.substr(0, missing));
    bytes.remove_prefix(missing);
    if (part_of_cell_.size() < cell_bytes) return absl::OkStatus();
    if (absl::Status status = TakeCells(part_of_cell_); !status.ok()) return status;
    part_of_cell_.clear();
  }
  while (bytes.size() >= cell_bytes) {
    const int64_t cells = std::min(
        {static_cast<int64_t>(bytes.size() / cell_bytes), kCellsAtATime, MatrixCells() - CellInMatrix()});
    const size_t size = static_cast<size_t>(cells) * cell_bytes;
    if (absl::Status status = TakeCells(bytes.substr(0, size)); !status.ok()) return status;
    bytes.remove_prefix(size);
  }
  part_of_cell_.append(bytes);
  return absl::OkStatus();
}

// Takes whole cells of one head of one sequence, and folds the sequence if they are its last.
absl::Status AttentionStream::TakeCells(std::string_view bytes) {
  const int64_t count = static_cast<int64_t>(bytes.size()) / CellBytes(header_);
  if (heads_.Uses(Head())) {
    const at::Tensor given = at::empty({count}, at::TensorOptions(ScalarTypeOf(header_.dtype)));
    std::memcpy(given.mutable_data_ptr(), bytes.data(), bytes.size());
    const at::Tensor cells = given.to(at::kFloat);
    if (absl::Status status = CheckCells(cells); !status.ok()) return status;
    heads_.Add(Head(), CellInMatrix(), cells);
  }
  const bool ends_sequence = CellInMatrix() + count == MatrixCells() && Head() + 1 == header_.heads;
  if (ends_sequence) {
    if (absl::Status status = FoldSequence(); !status.ok()) return status;
  }
  next_cell_ += count;
  if (Sequence() == header_.batch) {
    statistics_.push_back(std::move(layer_statistics_));
    layer_statistics_.clear();
    next_byte_ = next_cell_ = 0;
  }
  return absl::OkStatus();
}

// Looks at each head by itself: a negative cell would be lost in a mean, and Inf in a minimum.
absl::Status AttentionStream::CheckCells(const at::Tensor& cells) const {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (cells.ge(0).logical_and_(cells.lt(kInfinity)).all().item<bool>()) return absl::OkStatus();
  const std::vector<int32_t> mask = MaskOf(header_, Sequence());
  const auto masked = [&](int64_t position) { return !mask.empty() && mask[position] == 0; };
  const auto values = cells.accessor<float, 1>();
  for (int64_t i = 0; i < values.size(0); ++i) {
    if (values[i] >= 0 && values[i] < kInfinity) continue;
    const int64_t row = (CellInMatrix() + i) / header_.length;
    const int64_t column = (CellInMatrix() + i) % header_.length;
    const bool ignored =
        options_.include_padding ? masked(row) && std::isnan(values[i]) : masked(row) || masked(column);
    if (!ignored) return BadCell(CellInMatrix() + i, values[i]);
  }
  return absl::OkStatus();
}

absl::Status AttentionStream::BadCell(int64_t cell, float value) const {
  const bool negative = std::isfinite(value);
  const std::string where =
      absl::StrCat(LayerText(), ", sequence ", Sequence(), ", head ", Head(), ", row ", cell / header_.length,
                   ", column ", cell % header_.length, ", is ", value, ". ");
  const char* sentence = negative ? "Attention holds a negative cell. " : "Attention holds NaN or Inf. ";
  return WithReason(
      InvalidField("piece.data", absl::StrCat(sentence, "The cell of ", where,
                                              "Give probabilities, as they leave the softmax, and mask "
                                              "positions that have none.")),
      negative ? "NEGATIVE_ATTENTION" : "NON_FINITE_ATTENTION");
}

// What the fold refuses is the caller's attention: sums beyond float32, for the cells have been checked.
absl::Status AttentionStream::FoldSequence() {
  const at::Tensor fused = heads_.Finish();
  SequenceFold& fold = folds_[Sequence()];
  fold.BeginLayer(completed_layers(), /*measure=*/true);
  for (int64_t first = 0; first < header_.length; first += kRowsAtATime) {
    const int64_t rows = std::min(kRowsAtATime, header_.length - first);
    fold.AddRows(first, fused.narrow(0, first, rows).unsqueeze(0), spare_);
  }
  const absl::StatusOr<AttentionStatistics> statistics = fold.EndLayer(spare_);
  if (!statistics.ok()) {
    return WithReason(
        InvalidField("piece.data", absl::StrCat(statistics.status().message(), " It is sequence ", Sequence(),
                                                " of ", LayerText(), ".")),
        ReasonOf(statistics.status()).value_or("NON_FINITE_ATTENTION"));
  }
  layer_statistics_.push_back(*statistics);
  return absl::OkStatus();
}

absl::Status AttentionStream::AddLayer(const at::Tensor& attention) {
  const at::ScalarType dtype = ScalarTypeOf(header_.dtype);
  if (attention.sizes().vec() != LayerSizes(header_) || attention.scalar_type() != dtype) {
    if (error_.ok()) {
      error_ = InvalidField(
          "attention",
          absl::StrCat("Attention has the wrong shape or type. Layer ", completed_layers(), " is ",
                       ShapeText(attention.sizes().vec()), " of ", at::toString(attention.scalar_type()),
                       "; the header says ", ShapeText(LayerSizes(header_)), " of ", at::toString(dtype),
                       ". Every layer has the same shape, with as many rows as columns."));
    }
    return error_;
  }
  const at::Tensor cells = attention.to(at::kCPU).contiguous();
  return Append(completed_layers(), /*offset=*/0,
                {static_cast<const char*>(cells.const_data_ptr()), cells.nbytes()});
}

absl::Status AttentionStream::Finish() const {
  if (!error_.ok() || completed_layers() == header_.layers) return error_;
  return InvalidField("header.num_layers",
                      absl::StrCat("Layers are missing. ", completed_layers(), " of ", header_.layers,
                                   " are complete, of ", LayerText(), " ", next_byte_, " bytes of ",
                                   LayerBytes(header_), " came. Send every layer to its end."));
}

Metrics AttentionStream::MetricsOf(int64_t b) const {
  return MakeMetrics(statistics_[options_.layer_idx][b], folds_[b].MeasureRollout(), 1, header_.length);
}

Metrics AttentionStream::BatchMetrics() const {
  AttentionStatistics attention;
  AttentionStatistics rollout;
  for (int64_t b = 0; b < header_.batch; ++b) {
    attention.Merge(statistics_[options_.layer_idx][b]);
    rollout.Merge(folds_[b].MeasureRollout());
  }
  return MakeMetrics(attention, rollout, header_.batch, header_.length);
}

int64_t AttentionStream::bytes() const {
  int64_t bytes = static_cast<int64_t>(spare_.nbytes()) + heads_.bytes();
  for (const SequenceFold& fold : folds_) bytes += fold.bytes();
  return bytes;
}

std::string AttentionStream::LayerText() const {
  return absl::StrCat("layer ", completed_layers(), " ", ShapeText(LayerSizes(header_)));
}

}  // namespace attribution::rollout
