// Options of an attribution. The same meaning as proto/attribution/v1/options.proto, in plain types.
#ifndef ATTRIBUTION_OPTIONS_H_
#define ATTRIBUTION_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace attribution {

// Conventions of rollout; docs/rollout.md has the mathematics.
enum class Preset { kAbnar2020, kIclrMetrics, kChefer2021, kVitExplain, kVitExplainFixed };
enum class HeadFusion { kMean, kMax, kMin };
enum class CausalCorrection { kNone, kUniformRatio, kDropFirst };
// How a rollout is computed; its numbers are the same to rounding.
enum class RolloutMethod {
  kFullMatrix,    // R of every row
  kSelectedRows,  // of the rows that are sent alone: no R exists, and no metrics of it
};
enum class ChunkPolicy { kServerDefault, kAdaptive, kReference };

// Parameters of the computation as the caller gave them; an empty optional takes the preset's value.
struct AttributionOptions {
  std::optional<int32_t> layer_idx;       // [-L, L-1]; default -1, the last layer
  std::string attention_layer_pattern;    // RE2, partial match on the module path; empty: every layer
  std::optional<Preset> preset;           // default kAbnar2020
  std::optional<double> residual_weight;  // rho in [0, 1]; default 0.5
  std::optional<HeadFusion> head_fusion;  // default kMean
  std::optional<int32_t> head;            // this head alone, [0, H)
  std::optional<int32_t> start_layer;     // inclusive, [-L, L-1]
  std::optional<int32_t> end_layer;       // inclusive, [-L, L-1]
  std::optional<double> discard_ratio;    // [0, 1)
  bool include_padding = false;
  CausalCorrection causal_correction = CausalCorrection::kNone;
  int32_t max_chunk_size = 0;  // 0: the server's choice
  ChunkPolicy chunk_policy = ChunkPolicy::kServerDefault;
};

// Options with every default filled in and every layer number resolved to [0, L).
struct ResolvedOptions {
  Preset preset = Preset::kAbnar2020;
  std::string attention_layer_pattern;
  int32_t layer_idx = 0;
  int32_t start_layer = 0;
  int32_t end_layer = 0;
  double residual_weight = 0.5;
  HeadFusion head_fusion = HeadFusion::kMean;
  std::optional<int32_t> head;
  double discard_ratio = 0.0;
  bool include_padding = false;
  CausalCorrection causal_correction = CausalCorrection::kNone;
  int32_t max_chunk_size = 0;
  ChunkPolicy chunk_policy = ChunkPolicy::kAdaptive;
};

enum class MatrixEncoding { kFloat32, kFloat16 };

// Rows of the matrices that are sent: each once, in ascending order.
struct RowSelection {
  enum class Kind { kAll, kFirstValid, kLastValid, kIndices };
  Kind kind = Kind::kAll;
  std::vector<int32_t> indices;  // for kIndices: in [0, length), at valid positions
};

// What the reply holds besides the metrics.
struct OutputSelection {
  bool layer_metrics = false;
  bool rollout_matrix = false;
  bool layer_matrices = false;  // head-fused attention of every layer
  RowSelection rows;            // must be all unless one of these matrices is asked for
  int32_t top_k = 0;            // largest cells of each rollout; 0: none
  MatrixEncoding encoding = MatrixEncoding::kFloat32;
  bool tokens = false;
  bool skip_rollout_metrics = false;
};

}  // namespace attribution

#endif  // ATTRIBUTION_OPTIONS_H_
