// Predicts the peak of the bytes that a chunk allocates above the resident model.
//
// Pure functions; any thread. What a rollout takes is exact; what the model takes is measured when it is
// loaded and corrected by what chunks measured (cost_correction.h). A chunk holds its rollouts all the time,
// and beside them what its largest moment needs: of the forward pass, of an attention operator, or of the
// chunk's end.
#ifndef SERVER_ADMISSION_MEMORY_MODEL_H_
#define SERVER_ADMISSION_MEMORY_MODEL_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

namespace attribution::admission {

class CorrectionFactors;

// Bytes at one kind of moment, for B sequences padded to S:
//   B·(S²·per_cell + S·per_token + per_sequence) + S²·per_square + S·per_position + fixed.
struct MomentCost {
  double bytes_per_token = 0;
  double bytes_per_cell = 0;
  double bytes_per_sequence = 0;
  double bytes_per_position = 0;
  double bytes_per_square = 0;
  double fixed_bytes = 0;
};

// Both moments of lengths from `from_length` on.
struct RangeCost {
  int64_t from_length = 1;
  MomentCost forward = {};    // between the layers of attention
  MomentCost attention = {};  // while attention is computed, without the block in work
};

// What a model version costs.
struct ModelCost {
  int32_t layers = 0;
  int32_t heads = 0;
  std::vector<RangeCost> ranges;    // by length, ascending; empty: the model takes nothing
  double score_bytes_per_cell = 0;  // of the block, of all heads; 0 if no layer is computed in blocks
  int64_t block_rows = 128;         // query rows of attention in work at once, of all threads together
  std::shared_ptr<const CorrectionFactors> correction;  // of both moments; null: none
};

// B sequences, each padded to S = padded_length positions, and what they are without padding.
struct ChunkShape {
  int64_t sequences = 0;
  int64_t padded_length = 0;
  int64_t positions = 0;  // sum of their lengths; 0: B·S
  int64_t cells = 0;      // sum of their squares; 0: B·S²
};

inline constexpr int64_t kAllRows = std::numeric_limits<int64_t>::max();

// What of a chunk's results waits in memory until the client has taken it.
struct OutputCost {
  bool rollout_matrix = false;
  int32_t cell_bytes = 4;        // of an encoded matrix cell
  bool layer_matrices = false;   // the fused attention of every layer, kept from its layer on
  int64_t rows = kAllRows;       // most rows of each matrix
  bool layer_metrics = false;    // every layer is measured
  int64_t top_cells = 0;         // most cells of each rollout that are listed
  bool corrected = false;        // a corrected rollout, and what is told of it, beside each rollout
  bool uniform_rollout = false;  // which is corrected by a rollout of uniform attention
};

// Chosen rows of the rollout that are folded alone, without R and its spare.
struct RowsAlone {
  int64_t rows = 1;          // most of each sequence
  int32_t layers = 0;        // that are folded
  bool keeps_layers = true;  // every one of them, whole, until the chunk ends; else rows alone are held
};

// A predicted peak in two parts. Where several requests share a chunk, each has its own part by itself, and
// of the common part of the whole chunk the share of its padded positions.
struct PeakParts {
  int64_t own_bytes = 0;     // rollouts of its sequences, and what waits to be sent of them
  int64_t common_bytes = 0;  // what else the chunk needs at its largest moment

  int64_t total() const;  // saturates
};

// The bytes of a chunk by when they live, before they are rounded and corrected.
struct PeakTerms {
  double own_held = 0;     // rollouts, statistics and layers that are sent: all the time
  double common_held = 0;  // the spare [S, S] that the next rollout is written to: all the time
  double moment = 0;       // the forward pass or an attention operator, whichever is larger
  double own_output = 0;   // once the model has run: what waits to be sent
  double common_end = 0;   // then too: temporaries
};

PeakTerms PredictTerms(const ModelCost& model, const ChunkShape& chunk, const OutputCost& output,
                       const std::optional<RowsAlone>& rows_alone = std::nullopt);

// Returns the predicted peak in bytes, each part rounded up. Grows with `sequences`; with `padded_length` it
// grows too, but for a fall just above a multiple of `block_rows`, where the rows are cut into smaller
// blocks, and where another correction begins. What does not fit into int64_t, or is not a number, is its
// largest value; negative inputs count as 0. `rows_alone`: instead of whole rollouts.
PeakParts PredictPeak(const ModelCost& model, const ChunkShape& chunk, const OutputCost& output,
                      const std::optional<RowsAlone>& rows_alone = std::nullopt);

// Their sum.
int64_t PredictPeakBytes(const ModelCost& model, const ChunkShape& chunk, const OutputCost& output,
                         const std::optional<RowsAlone>& rows_alone = std::nullopt);

// What is reserved for a request with this estimate, and held to: a sixteenth more, and 256 KiB for what
// allocators round up. Saturates.
int64_t ReservedBytes(int64_t estimated_peak_bytes);

// The largest estimate for which `reserved_bytes` are enough; 0 if none is.
int64_t EstimateThatFits(int64_t reserved_bytes);

}  // namespace attribution::admission

#endif  // SERVER_ADMISSION_MEMORY_MODEL_H_
