// AttentionStream rolls out attention that the caller has, while it arrives: bytes in, in pieces of any size.
//
// Cells come in the order [B, H, S, S], little-endian, layer after layer. What is held does not grow with
// heads or layers: R of each sequence, one spare and one head-fused matrix [S, S] for all of them, and a few
// numbers a row; of the bytes never more than part of a piece. Not thread-safe. Allocates with torch, which
// throws when there is no memory.
//
//   Make ─▶ Append … Append ─▶ Finish ─▶ fold(), MetricsOf(), BatchMetrics()
#ifndef SERVER_ROLLOUT_ATTENTION_STREAM_H_
#define SERVER_ROLLOUT_ATTENTION_STREAM_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "attribution/events.h"
#include "attribution/options.h"
#include "server/rollout/attention_header.h"
#include "server/rollout/attention_statistics.h"
#include "server/rollout/head_accumulator.h"
#include "server/rollout/rollout_fold.h"

namespace attribution::rollout {

class AttentionStream {
 public:
  // Begins a stream that computes on the device of `tensor_options`. INVALID_ARGUMENT for a header that is
  // not right. REQUIRES: `options` come from ResolveOptions with the header's layers and heads.
  static absl::StatusOr<AttentionStream> Make(AttentionHeader header, const ResolvedOptions& options,
                                              const at::TensorOptions& tensor_options);

  // Takes the bytes of layer `layer` that begin at `offset`. Layers are folded as they become complete.
  // INVALID_ARGUMENT, naming the layer and its shape, if this is not where the last piece ended or the layer
  // has no so many bytes; with reason NON_FINITE_ATTENTION or NEGATIVE_ATTENTION if a cell of valid row and
  // column, of a head that is used, is NaN, Inf or negative. After an error every call returns that error.
  absl::Status Append(int32_t layer, int64_t offset, std::string_view bytes);

  // Takes the whole next layer from a tensor of the header's form, sizes and dtype, any device.
  absl::Status AddLayer(const at::Tensor& attention);

  // OK if every layer is complete; INVALID_ARGUMENT if some are missing.
  absl::Status Finish() const;

  // Number of complete layers, and the statistics of each sequence in one of them: of every layer, folded or
  // not. REQUIRES: layer < completed_layers().
  int32_t completed_layers() const { return static_cast<int32_t>(statistics_.size()); }
  const std::vector<AttentionStatistics>& layer_statistics(int32_t layer) const { return statistics_[layer]; }

  // The rollout of sequence `b`, its metrics, and those of the batch. REQUIRES: Finish() is OK.
  const SequenceFold& fold(int64_t b) const { return folds_[b]; }
  Metrics MetricsOf(int64_t b) const;
  Metrics BatchMetrics() const;

  // Bytes of the tensors held.
  int64_t bytes() const;

 private:
  AttentionStream(AttentionHeader header, const ResolvedOptions& options,
                  const at::TensorOptions& tensor_options);

  absl::Status CheckPiece(int32_t layer, int64_t offset, int64_t size) const;
  absl::Status Take(std::string_view bytes);
  absl::Status TakeCells(std::string_view bytes);
  absl::Status CheckCells(const at::Tensor& cells) const;
  absl::Status BadCell(int64_t cell, float value) const;
  absl::Status FoldSequence();

  // Where the next cell goes.
  int64_t MatrixCells() const { return header_.length * header_.length; }
  int64_t CellInMatrix() const { return next_cell_ % MatrixCells(); }
  int64_t Head() const { return next_cell_ / MatrixCells() % header_.heads; }
  int64_t Sequence() const { return next_cell_ / MatrixCells() / header_.heads; }
  std::string LayerText() const;

  AttentionHeader header_;
  ResolvedOptions options_;
  std::vector<SequenceFold> folds_;
  at::Tensor spare_;
  HeadAccumulator heads_;
  std::vector<std::vector<AttentionStatistics>> statistics_;  // [complete layers][B]

  // Of the current layer, whose number is that of the complete ones.
  int64_t next_byte_ = 0;
  int64_t next_cell_ = 0;
  std::string part_of_cell_;  // bytes of a cell whose rest is in the next piece
  std::vector<AttentionStatistics> layer_statistics_;
  absl::Status error_;
};

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_ATTENTION_STREAM_H_
