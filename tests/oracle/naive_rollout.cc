#include "tests/oracle/naive_rollout.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace attribution::oracle {
namespace {

Matrix Zeros(size_t size) { return Matrix(size, std::vector<double>(size, 0.0)); }

// Fuses heads, then zeroes rows and columns of invalid positions.
Matrix HeadFused(const std::vector<Matrix>& heads, const std::vector<int32_t>& mask,
                 const ResolvedOptions& options) {
  const size_t size = mask.size();
  Matrix fused = Zeros(size);
  for (size_t i = 0; i < size; ++i) {
    for (size_t j = 0; j < size; ++j) {
      if (mask[i] == 0 || mask[j] == 0) continue;
      std::vector<double> values;
      for (const Matrix& head : heads) values.push_back(head[i][j]);
      double sum = 0;
      for (double value : values) sum += value;
      if (options.head.has_value()) {
        fused[i][j] = values[*options.head];
      } else if (options.head_fusion == HeadFusion::kMean) {
        fused[i][j] = sum / static_cast<double>(values.size());
      } else if (options.head_fusion == HeadFusion::kMax) {
        fused[i][j] = *std::max_element(values.begin(), values.end());
      } else {
        fused[i][j] = *std::min_element(values.begin(), values.end());
      }
    }
  }
  return fused;
}

// rn((1-rho) A + rho I), rn(X) = X / max(rowsum(X), 1e-10); the identity only at valid positions.
Matrix WithResidual(const Matrix& attention, const std::vector<int32_t>& mask, double rho) {
  const size_t size = attention.size();
  Matrix mixed = Zeros(size);
  for (size_t i = 0; i < size; ++i) {
    double row_sum = 0;
    for (size_t j = 0; j < size; ++j) {
      mixed[i][j] = (1 - rho) * attention[i][j];
      if (i == j && mask[i] != 0) mixed[i][j] += rho;
      row_sum += mixed[i][j];
    }
    for (size_t j = 0; j < size; ++j) mixed[i][j] /= std::max(row_sum, 1e-10);
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
    const Matrix mixed = WithResidual(attention[l], mask, options.residual_weight);
    if (options.preset == Preset::kIclrMetrics) {
      rollout = l == options.start_layer ? attention[l] : Product(rollout, mixed);
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

NaiveResult NaiveRollout(const std::vector<Layer>& layers, const Masks& masks,
                         const std::vector<int64_t>& lengths, const ResolvedOptions& options) {
  const size_t batch = masks.size();
  std::vector<std::vector<Matrix>> attention(batch);  // [B][L]
  for (size_t b = 0; b < batch; ++b) {
    for (const Layer& layer : layers) attention[b].push_back(HeadFused(layer[b], masks[b], options));
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
  return result;
}

}  // namespace attribution::oracle
