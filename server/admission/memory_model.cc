#include "server/admission/memory_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace attribution::admission {
namespace {

constexpr double kFloatBytes = 4;  // rollouts, scores and fused attention are float32
constexpr double kDoubleBytes = 8;
constexpr double kCorrectedRows = 128;  // corrected at a time
constexpr double kCorrectedBlocks = 3;  // of them: quotients, what is too small, a temporary
constexpr double kRowNumberBytes = 16;  // sums and entropies a row
// Blocks at a time: head-fused, corrected, and a temporary of the statistics.
constexpr double kFusedBlocks = 3;
constexpr double kSmallestBlock = 32;    // rows of a block of attention
constexpr double kRowVectors = 4;        // rows, scaled rows, their product, and one more that is let go of
constexpr double kListedCellBytes = 12;  // row, column and value

constexpr int64_t kMarginDivisor = 16;
constexpr int64_t kMarginBytes = 256 << 10;

double NotNegative(double value) { return value < 0 ? 0 : value; }

// 2^63 is the smallest double above int64_t's range; the comparison also catches what is not a number.
int64_t Saturated(double bytes) {
  if (!(bytes < 9223372036854775808.0)) return std::numeric_limits<int64_t>::max();
  return static_cast<int64_t>(bytes);
}

// What the rollouts of rows alone take. Rows that go forward have a product for each block of the layer in
// work, and a block has 32 rows at least, but for the share of a thread that is the last.
double BytesOfRowsAlone(const RowsAlone& alone, const ModelCost& model, double sequences, double length) {
  const double rows = std::min(NotNegative(static_cast<double>(alone.rows)), length) * length * kFloatBytes;
  const double in_work = kRowVectors * rows;
  if (alone.keeps_layers) {
    const double layer = length * length * kFloatBytes + length * kFloatBytes;
    return sequences * NotNegative(alone.layers) * layer + in_work;
  }
  const double blocks = std::ceil(length / kSmallestBlock) +
                        std::ceil(NotNegative(static_cast<double>(model.block_rows)) / kSmallestBlock);
  return (sequences + std::min(blocks, length)) * rows + in_work;
}

}  // namespace

PeakParts PredictPeak(const ModelCost& model, const ChunkShape& chunk, const OutputCost& output,
                      const std::optional<RowsAlone>& rows_alone) {
  const double sequences = NotNegative(static_cast<double>(chunk.sequences));
  const double length = NotNegative(static_cast<double>(chunk.padded_length));
  const double block =
      length * NotNegative(static_cast<double>(std::min(model.block_rows, chunk.padded_length)));
  const double matrix = length * length;

  double own = rows_alone.has_value() ? BytesOfRowsAlone(*rows_alone, model, sequences, length)
                                      : sequences * matrix * kFloatBytes;
  // The spare [S, S] that the next R is written to.
  double common = rows_alone.has_value() ? 0 : matrix * kFloatBytes;
  // Scores, then probabilities in their place, of a block of rows of every head of one sequence.
  common += NotNegative(model.heads) * block * kFloatBytes;
  // The block after the heads were fused, and what is made from it.
  common += kFusedBlocks * block * kFloatBytes;
  // Statistics of each row.
  own += sequences * length * kRowNumberBytes;
  // Activations of the forward pass.
  common += sequences * length * NotNegative(model.bytes_per_token);
  common += sequences * matrix * NotNegative(model.bytes_per_cell);
  common += NotNegative(model.fixed_bytes);
  // The corrected rollout of one sequence, made when it is asked for, and rows of it in float64.
  if (output.corrected)
    common += matrix * kFloatBytes + kCorrectedBlocks * kCorrectedRows * length * kDoubleBytes;
  // Of each sequence the uniform rollout, and which cells of a layer are seen; of one, a layer of uniform
  // attention, its float32 copy that is discarded from, and the product. Which cells of a block are not 0.
  if (output.uniform_rollout) {
    own += sequences * matrix * (kDoubleBytes + 1);
    common += matrix * (2 * kDoubleBytes + kFloatBytes + 1);
    common += NotNegative(model.heads) * block;
  }
  // Encoded matrices that nobody has taken yet.
  const double sent = length * NotNegative(static_cast<double>(std::min(output.rows, chunk.padded_length))) *
                      NotNegative(output.cell_bytes);
  const double rollouts = output.corrected ? 2 : 1;  // told of each sequence
  if (output.rollout_matrix) own += rollouts * sequences * sent;
  // Layers that are kept become messages one by one: one of them is there twice.
  if (output.layer_matrices) own += (sequences * NotNegative(model.layers) + 1) * sent;
  // Lists of cells; that of one sequence is there twice, as a whole and in events.
  own += (rollouts * sequences + 1) * std::min(NotNegative(static_cast<double>(output.top_cells)), matrix) *
         kListedCellBytes;
  return {Saturated(std::ceil(own)), Saturated(std::ceil(common))};
}

int64_t PeakParts::total() const {
  return Saturated(static_cast<double>(own_bytes) + static_cast<double>(common_bytes));
}

int64_t PredictPeakBytes(const ModelCost& model, const ChunkShape& chunk, const OutputCost& output,
                         const std::optional<RowsAlone>& rows_alone) {
  return PredictPeak(model, chunk, output, rows_alone).total();
}

int64_t ReservedBytes(int64_t estimated_peak_bytes) {
  const int64_t bytes = std::max<int64_t>(estimated_peak_bytes, 0);
  const int64_t margin = bytes / kMarginDivisor + kMarginBytes;
  return bytes > std::numeric_limits<int64_t>::max() - margin ? std::numeric_limits<int64_t>::max()
                                                              : bytes + margin;
}

int64_t EstimateThatFits(int64_t reserved_bytes) {
  if (reserved_bytes < kMarginBytes) return 0;
  const int64_t rest = reserved_bytes - kMarginBytes;
  // rest = e + floor(e / d) has e = ceil(rest · d / (d + 1)) as its largest solution, or one less.
  int64_t estimate = rest - rest / (kMarginDivisor + 1);
  while (ReservedBytes(estimate) > reserved_bytes) --estimate;
  return estimate;
}

}  // namespace attribution::admission
