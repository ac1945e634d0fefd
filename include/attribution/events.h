// What an attribution tells, in the order in which it tells it. Fields mean what
// proto/attribution/v1/events.proto says.
#ifndef ATTRIBUTION_EVENTS_H_
#define ATTRIBUTION_EVENTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "attribution/options.h"

namespace attribution {

// The reference's eight metrics; one that was not computed is absent. Entropies are in nats.
struct Metrics {
  std::optional<double> mean_attention;
  std::optional<double> max_attention;
  std::optional<double> attention_entropy;
  std::optional<double> attention_concentration;
  std::optional<double> rollout_max;
  std::optional<double> rollout_entropy;
  int64_t batch_size = 0;
  int64_t seq_length = 0;
};

struct SequenceTokens {
  std::vector<int64_t> input_ids;
  std::vector<std::string> tokens;  // empty without a tokenizer
};

// First event: memory is reserved.
struct Admitted {
  int64_t estimated_peak_bytes = 0;
  int32_t chunk_size = 0;
  int32_t num_chunks = 0;
  int32_t num_layers = 0;
  double queue_seconds = 0;
  double expected_seconds = 0;  // from now to the result; 0: unknown
  std::string device;
  std::string model_version;
  std::string model_sha256;
  ResolvedOptions options;
  RolloutMethod rollout_method = RolloutMethod::kFullMatrix;
  std::vector<SequenceTokens> tokens;
};

// Statistics of one layer over one chunk, or over the batch (chunk_index -1) in the result.
struct LayerMetrics {
  int32_t layer_idx = 0;
  int32_t site_index = 0;
  std::string module_path;
  int32_t chunk_index = -1;
  double mean_attention = 0;
  double max_attention = 0;
  double attention_entropy = 0;
  double attention_concentration = 0;
  int64_t num_rows = 0;
  int64_t num_cells = 0;
};

struct ChunkMetrics {
  int32_t chunk_index = 0;
  int32_t first_sequence = 0;
  int32_t num_sequences = 0;
  Metrics metrics;
};

enum class MatrixKind { kRollout, kCorrected, kLayerAttention };

// Whole rows of one matrix, row-major, little-endian.
struct MatrixSlice {
  int32_t sequence_index = 0;
  int32_t first_row = 0;
  int32_t rows = 0;
  int32_t columns = 0;
  int32_t layer_idx = -1;
  MatrixKind kind = MatrixKind::kRollout;
  MatrixEncoding encoding = MatrixEncoding::kFloat32;
  std::string data;
};

struct Cell {
  int32_t row = 0;
  int32_t column = 0;
  float value = 0;
};

// Largest cells of one rollout. A long list comes as several events of one sequence, one after the other.
struct TopCells {
  int32_t sequence_index = 0;
  std::vector<Cell> cells;  // largest first, ties by flat index
  MatrixKind kind = MatrixKind::kRollout;
};

// Earlier events of sequences from first_sequence on are void.
struct Replanned {
  int32_t first_sequence = 0;
  int32_t chunk_size = 0;
  int32_t num_chunks = 0;
  int32_t attempt = 0;

  friend bool operator==(const Replanned&, const Replanned&) = default;
};

// Last event of a successful attribution.
struct AttributionResult {
  Metrics metrics;
  std::vector<Metrics> sequences;
  std::vector<LayerMetrics> layers;
  std::optional<Metrics> corrected;
  int64_t measured_peak_bytes = 0;
  int64_t measured_attention_bytes = 0;
  double queue_seconds = 0;
  double forward_seconds = 0;
  double total_seconds = 0;
  int32_t num_chunks = 0;
  int32_t oom_retries = 0;
};

using Event =
    std::variant<Admitted, LayerMetrics, ChunkMetrics, MatrixSlice, TopCells, Replanned, AttributionResult>;

}  // namespace attribution

#endif  // ATTRIBUTION_EVENTS_H_
