// Predicts the peak of the bytes that a chunk allocates above the resident model.
//
// Pure functions; any thread. The attention terms are exact, the activations are measured when a model is
// loaded. Errs upwards: it adds peaks that need not fall together.
#ifndef SERVER_ADMISSION_MEMORY_MODEL_H_
#define SERVER_ADMISSION_MEMORY_MODEL_H_

#include <cstdint>
#include <limits>
#include <optional>

namespace attribution::admission {

// What a model version costs. The activations of B sequences padded to S take
// B·S·bytes_per_token + B·S²·bytes_per_cell + fixed_bytes: all that a forward pass needs when nobody looks at
// its attention, the scores of unblocked attention included.
struct ModelCost {
  int32_t layers = 0;
  int32_t heads = 0;
  double bytes_per_token = 0;
  double bytes_per_cell = 0;
  double fixed_bytes = 0;
  int64_t block_rows = 128;  // query rows of attention in work at once, of all threads together
};

// B sequences, each padded to S = padded_length positions.
struct ChunkShape {
  int64_t sequences = 0;
  int64_t padded_length = 0;
};

inline constexpr int64_t kAllRows = std::numeric_limits<int64_t>::max();

// What of a chunk's results waits in memory until the client has taken it.
struct OutputCost {
  bool rollout_matrix = false;
  int32_t cell_bytes = 4;        // of an encoded matrix cell
  bool layer_matrices = false;   // the fused attention of every layer, kept from its layer on
  int64_t rows = kAllRows;       // most rows of each matrix
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
  int64_t common_bytes = 0;  // activations, blocks of attention, what the sequences use one after the other

  int64_t total() const;  // saturates
};

// Returns the predicted peak in bytes, each part rounded up. Both grow with `sequences` and with
// `padded_length`. What does not fit into int64_t, or is not a number, is its largest value; negative inputs
// count as 0. `rows_alone`: instead of whole rollouts.
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
