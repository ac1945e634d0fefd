#include "server/admission/memory_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "server/admission/cost_correction.h"

namespace attribution::admission {
namespace {

constexpr double kFloatBytes = 4;  // rollouts, scores and fused attention are float32
constexpr double kDoubleBytes = 8;
constexpr double kCorrectedRows = 128;    // corrected at a time
constexpr double kCorrectedBlocks = 3;    // of them: quotients, what is too small, a temporary
constexpr double kRowNumberBytes = 16;    // sums and entropies a row
constexpr double kResidualBytes = 12;     // a row of a block, while the residual is added
constexpr int64_t kMeasuredRows = 128;    // of a rollout, or of a tapped layer, at a time
constexpr int64_t kLeastThreadRows = 32;  // rows of a block are shared out to threads in no fewer
constexpr double kSmallestBlock = 32;     // rows of a block of attention
constexpr double kRowVectors = 4;         // rows, scaled rows, their product, and one more that is let go of
constexpr double kListedCellBytes = 12;   // row, column and value

// By which chunks that are corrected alike may differ: small tensors of their outputs.
constexpr double kUnlikeBytes = 512;
constexpr int64_t kMarginDivisor = 16;
constexpr int64_t kMarginBytes = 256 << 10;

int64_t DivideUp(int64_t a, int64_t b) { return (a - 1) / b + 1; }

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

// Rows of a sequence in work at once: as many for each block, and for each thread that shares them.
double RowsAtOnce(const ModelCost& model, int64_t length) {
  if (model.score_bytes_per_cell <= 0)
    return static_cast<double>(std::min(length, std::min(model.block_rows, kMeasuredRows)));
  if (model.block_rows <= 0 || length <= 0) return 0;
  const int64_t blocks = DivideUp(length, model.block_rows);
  const int64_t threads = std::max<int64_t>(1, std::min(model.block_rows, length) / kLeastThreadRows);
  return static_cast<double>(std::min(DivideUp(length, blocks) + threads - 1, length));
}

double BytesAt(const MomentCost& cost, double sequences, double length) {
  const double of_each =
      (length * NotNegative(cost.bytes_per_cell) + NotNegative(cost.bytes_per_token)) * length +
      NotNegative(cost.bytes_per_sequence);
  return sequences * of_each +
         (length * NotNegative(cost.bytes_per_square) + NotNegative(cost.bytes_per_position)) * length +
         NotNegative(cost.fixed_bytes);
}

// The last range that begins at `length` or before; the first if none does.
RangeCost RangeOf(const ModelCost& model, int64_t length) {
  if (model.ranges.empty()) return {};
  auto range = model.ranges.begin();
  while (range + 1 != model.ranges.end() && (range + 1)->from_length <= length) ++range;
  return *range;
}

}  // namespace

PeakTerms PredictTerms(const ModelCost& model, const ChunkShape& chunk, const OutputCost& output,
                       const std::optional<RowsAlone>& rows_alone) {
  const double sequences = NotNegative(static_cast<double>(chunk.sequences));
  const double length = NotNegative(static_cast<double>(chunk.padded_length));
  const double matrix = length * length;
  const double positions = chunk.positions > 0 ? static_cast<double>(chunk.positions) : sequences * length;
  const double cells = chunk.cells > 0 ? static_cast<double>(chunk.cells) : sequences * matrix;
  PeakTerms terms;

  terms.own_held =
      rows_alone.has_value() ? BytesOfRowsAlone(*rows_alone, model, sequences, length) : cells * kFloatBytes;
  terms.own_held += positions * kRowNumberBytes;
  // Layers that are kept become messages one by one: one of them is there twice.
  const double sent_rows = NotNegative(static_cast<double>(std::min(output.rows, chunk.padded_length)));
  const double sent = std::min(cells, positions * sent_rows) * NotNegative(output.cell_bytes);
  const double sent_of_one = length * sent_rows * NotNegative(output.cell_bytes);
  if (output.layer_matrices) {
    terms.own_held += NotNegative(model.layers) * sent;
    terms.own_output += sent_of_one;
  }
  if (!rows_alone.has_value()) terms.common_held = matrix * kFloatBytes;

  // Scores, then probabilities in their place, of a block of rows of every head of one sequence; the block
  // after the heads were fused, and a temporary of its statistics or of the residual.
  const RangeCost range = RangeOf(model, chunk.padded_length);
  const double rows = RowsAtOnce(model, chunk.padded_length);
  const double block = length * rows;
  double attention = BytesAt(range.attention, sequences, length) +
                     block * (NotNegative(model.score_bytes_per_cell) + kFloatBytes) +
                     std::max(block * kFloatBytes, rows * kResidualBytes);
  // Of each sequence the uniform rollout, and which cells of a layer are seen; of one, a layer of uniform
  // attention, its float32 copy that is discarded from, and the product. Which cells of a block are not 0.
  if (output.uniform_rollout) {
    terms.own_held += cells * (kDoubleBytes + 1);
    attention += matrix * (2 * kDoubleBytes + kFloatBytes + 1) + NotNegative(model.heads) * block;
  }
  const double forward = BytesAt(range.forward, sequences, length);
  // Not by std::max: what is not a number must stay so, here and below.
  terms.moment = attention <= forward ? forward : attention;
  if (std::isnan(forward)) terms.moment = forward;

  // A block of the rollout is measured. Or the corrected rollout of one sequence, made when it is asked for,
  // with rows of it in float64.
  const auto end_rows = static_cast<double>(std::min({model.block_rows, chunk.padded_length, kMeasuredRows}));
  terms.common_end = length * NotNegative(end_rows) * kFloatBytes;
  if (output.corrected)
    terms.common_end += matrix * kFloatBytes + kCorrectedBlocks * kCorrectedRows * length * kDoubleBytes;
  const double rollouts = output.corrected ? 2 : 1;  // told of each sequence
  if (output.rollout_matrix) terms.own_output += rollouts * sent;
  // Lists of cells; that of one sequence is there twice, as a whole and in events.
  terms.own_output += (rollouts * sequences + 1) *
                      std::min(NotNegative(static_cast<double>(output.top_cells)), matrix) * kListedCellBytes;
  return terms;
}

PeakParts PredictPeak(const ModelCost& model, const ChunkShape& chunk, const OutputCost& output,
                      const std::optional<RowsAlone>& rows_alone) {
  const PeakTerms terms = PredictTerms(model, chunk, output, rows_alone);
  double moment = terms.moment;
  if (model.correction != nullptr) {
    moment = moment * model.correction->FactorFor(chunk, output, rows_alone) + kUnlikeBytes;
  }
  const double own = terms.own_held + terms.own_output;
  const double end = terms.own_output + terms.common_end;
  const double common = terms.common_held + (moment < end ? end : moment) - terms.own_output;
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
