#include "tests/oracle/naive_rollout.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

namespace attribution::oracle {
namespace {

Matrix Zeros(size_t size) { return Matrix(size, std::vector<double>(size, 0.0)); }

double FusedCell(const std::vector<double>& values, const ResolvedOptions& options) {
  if (options.head.has_value()) return values[*options.head];
  double sum = 0;
  for (double value : values) sum += value;
  if (std::isnan(sum)) return sum;
  if (options.head_fusion == HeadFusion::kMax) return *std::max_element(values.begin(), values.end());
  if (options.head_fusion == HeadFusion::kMin) return *std::min_element(values.begin(), values.end());
  return sum / static_cast<double>(values.size());
}

// Fuses heads, then zeroes rows and columns of invalid positions. With include_padding: nothing but masked
// rows that hold NaN.
Matrix HeadFused(const std::vector<Matrix>& heads, const std::vector<int32_t>& mask,
                 const ResolvedOptions& options) {
  const size_t size = mask.size();
  Matrix fused = Zeros(size);
  for (size_t i = 0; i < size; ++i) {
    bool holds_nan = false;
    for (size_t j = 0; j < size; ++j) {
      if (!options.include_padding && (mask[i] == 0 || mask[j] == 0)) continue;
      std::vector<double> values;
      for (const Matrix& head : heads) values.push_back(head[i][j]);
      fused[i][j] = FusedCell(values, options);
      holds_nan = holds_nan || std::isnan(fused[i][j]);
    }
    if (holds_nan && mask[i] == 0) fused[i].assign(size, 0.0);
  }
  return fused;
}

// Zeroes the floor(ratio n^2) smallest cells of the valid block; of equal ones the first in row order. The
// first cell of the block stays.
void Discard(Matrix& attention, const std::vector<int32_t>& mask, double ratio) {
  struct Cell {
    double value;
    size_t i, j;
  };
  std::vector<Cell> cells;
  for (size_t i = 0; i < mask.size(); ++i) {
    for (size_t j = 0; j < mask.size(); ++j) {
      if (mask[i] != 0 && mask[j] != 0) cells.push_back({attention[i][j], i, j});
    }
  }
  const Cell first = cells[0];
  std::stable_sort(cells.begin(), cells.end(),
                   [](const Cell& a, const Cell& b) { return a.value < b.value; });
  const auto count = static_cast<size_t>(std::floor(ratio * static_cast<double>(cells.size())));
  for (size_t k = 0; k < count; ++k) attention[cells[k].i][cells[k].j] = 0;
  attention[first.i][first.j] = first.value;
}

// X = (1-rho) A + rho I, divided by max(row sum, 1e-10): row i by the sum of row i or, as the vit-explain
// script does, column j by the sum of row j. The identity only at valid positions.
Matrix WithResidual(const Matrix& attention, const std::vector<int32_t>& mask,
                    const ResolvedOptions& options) {
  const size_t size = attention.size();
  const double rho = options.residual_weight;
  Matrix mixed = Zeros(size);
  std::vector<double> row_sums(size, 0.0);
  for (size_t i = 0; i < size; ++i) {
    for (size_t j = 0; j < size; ++j) {
      mixed[i][j] = (1 - rho) * attention[i][j];
      if (i == j && mask[i] != 0) mixed[i][j] += rho;
      row_sums[i] += mixed[i][j];
    }
  }
  for (size_t i = 0; i < size; ++i) {
    for (size_t j = 0; j < size; ++j) {
      mixed[i][j] /= std::max(row_sums[options.preset == Preset::kVitExplain ? j : i], 1e-10);
    }
  }
  return mixed;
}

Matrix Product(const Matrix& left, const Matrix& right) {
  const size_t size = left.size();
  Matrix product = Zeros(size);
  for (size_t i = 0; i < size; ++i) {
    for (size_t j = 0; j < size; ++j) {
      for (size_t k = 0; k < size; ++k) product[i][j] += left[i][k] * right[k][j];
    }
  }
  return product;
}

Matrix Rollout(const std::vector<Matrix>& attention, const std::vector<int32_t>& mask,
               const ResolvedOptions& options) {
  Matrix rollout;
  for (int32_t l = options.start_layer; l <= options.end_layer; ++l) {
    Matrix kept = attention[l];
    Discard(kept, mask, options.discard_ratio);
    const Matrix mixed = WithResidual(kept, mask, options);
    if (options.preset == Preset::kIclrMetrics) {
      rollout = l == options.start_layer ? kept : Product(rollout, mixed);
    } else {
      rollout = l == options.start_layer ? mixed : Product(mixed, rollout);
    }
  }
  return rollout;
}

// Statistics over the valid rows and columns of several matrices at once, every cell and every row with equal
// weight.
struct Statistics {
  double mean = 0, maximum = 0, entropy = 0, concentration = 0;
  int64_t rows = 0, cells = 0;
};

Statistics Measure(const std::vector<Matrix>& matrices, const Masks& masks) {
  Statistics result;
  double cell_sum = 0, entropy_sum = 0, row_maximum_sum = 0;
  for (size_t b = 0; b < matrices.size(); ++b) {
    for (size_t i = 0; i < masks[b].size(); ++i) {
      if (masks[b][i] == 0) continue;
      ++result.rows;
      double entropy = 0, row_maximum = 0;
      for (size_t j = 0; j < masks[b].size(); ++j) {
        if (masks[b][j] == 0) continue;
        ++result.cells;
        const double cell = matrices[b][i][j];
        cell_sum += cell;
        entropy -= cell * std::log(std::max(cell, 1e-12));
        row_maximum = std::max(row_maximum, cell);
      }
      entropy_sum += entropy;
      row_maximum_sum += row_maximum;
      result.maximum = std::max(result.maximum, row_maximum);
    }
  }
  result.mean = cell_sum / static_cast<double>(result.cells);
  result.entropy = entropy_sum / static_cast<double>(result.rows);
  result.concentration = row_maximum_sum / static_cast<double>(result.rows);
  return result;
}

Metrics ToMetrics(const Statistics& attention, const Statistics& rollout, int64_t batch_size,
                  int64_t seq_length) {
  Metrics metrics;
  metrics.mean_attention = attention.mean;
  metrics.max_attention = attention.maximum;
  metrics.attention_entropy = attention.entropy;
  metrics.attention_concentration = attention.concentration;
  metrics.rollout_max = rollout.maximum;
  metrics.rollout_entropy = rollout.entropy;
  metrics.batch_size = batch_size;
  metrics.seq_length = seq_length;
  return metrics;
}

}  // namespace

NaiveResult NaiveRollout(const std::vector<Layer>& layers, const Masks& given_masks,
                         const std::vector<int64_t>& given_lengths, const ResolvedOptions& options) {
  const size_t batch = given_masks.size();
  std::vector<std::vector<Matrix>> attention(batch);  // [B][L]
  for (size_t b = 0; b < batch; ++b) {
    for (const Layer& layer : layers) attention[b].push_back(HeadFused(layer[b], given_masks[b], options));
  }
  Masks masks = given_masks;
  std::vector<int64_t> lengths = given_lengths;
  if (options.include_padding) {
    for (std::vector<int32_t>& mask : masks) mask.assign(mask.size(), 1);
    lengths.assign(batch, static_cast<int64_t>(masks[0].size()));
  }
  NaiveResult result;
  for (size_t b = 0; b < batch; ++b) result.rollouts.push_back(Rollout(attention[b], masks[b], options));

  std::vector<Matrix> chosen;
  for (size_t b = 0; b < batch; ++b) {
    chosen.push_back(attention[b][options.layer_idx]);
    result.sequences.push_back(ToMetrics(Measure({chosen[b]}, {masks[b]}),
                                         Measure({result.rollouts[b]}, {masks[b]}), 1, lengths[b]));
  }
  result.batch = ToMetrics(Measure(chosen, masks), Measure(result.rollouts, masks),
                           static_cast<int64_t>(batch), *std::max_element(lengths.begin(), lengths.end()));
  for (size_t l = 0; l < layers.size(); ++l) {
    std::vector<Matrix> matrices;
    for (size_t b = 0; b < batch; ++b) matrices.push_back(attention[b][l]);
    const Statistics statistics = Measure(matrices, masks);
    LayerMetrics layer;
    layer.layer_idx = static_cast<int32_t>(l);
    layer.mean_attention = statistics.mean;
    layer.max_attention = statistics.maximum;
    layer.attention_entropy = statistics.entropy;
    layer.attention_concentration = statistics.concentration;
    layer.num_rows = statistics.rows;
    layer.num_cells = statistics.cells;
    result.layers.push_back(layer);
  }
  result.attention = std::move(attention);
  return result;
}

}  // namespace attribution::oracle
