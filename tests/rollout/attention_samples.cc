#include "tests/rollout/attention_samples.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <utility>

namespace attribution::rollout {

Sample RandomSample(uint32_t seed, int32_t num_layers, int32_t num_heads,
                    const std::vector<std::vector<int32_t>>& masks) {
  std::mt19937 generator(seed);
  Sample sample;
  size_t size = 0;
  for (const auto& mask : masks) size = std::max(size, mask.size());
  for (const auto& mask : masks) {
    sample.lengths.push_back(static_cast<int64_t>(mask.size()));
    sample.masks.push_back(mask);
    sample.masks.back().resize(size, 0);
  }
  const auto random_row = [&](const std::vector<int32_t>& mask, size_t row) {
    std::vector<double> cells(size, std::numeric_limits<double>::quiet_NaN());
    double sum = 0;
    for (size_t column = 0; column < size; ++column) {
      const double weight = std::exp(6.0 * static_cast<double>(generator()) / 4294967296.0);
      if (mask[row] == 0 || mask[column] == 0) continue;
      cells[column] = weight;
      sum += weight;
    }
    for (double& cell : cells) cell /= sum;
    return cells;
  };
  for (int32_t l = 0; l < num_layers; ++l) {
    oracle::Layer layer;
    for (const auto& mask : sample.masks) {
      std::vector<oracle::Matrix> heads(num_heads);
      for (oracle::Matrix& head : heads) {
        for (size_t row = 0; row < size; ++row) head.push_back(random_row(mask, row));
      }
      layer.push_back(heads);
    }
    sample.layers.push_back(layer);
  }
  return sample;
}

Sample PaddedSample(uint32_t seed, int32_t num_layers, int32_t num_heads,
                    const std::vector<std::vector<int32_t>>& masks) {
  Sample sample = RandomSample(seed, num_layers, num_heads, masks);
  const size_t size = sample.masks[0].size();
  const Sample everywhere =
      RandomSample(seed + 1, num_layers, num_heads,
                   std::vector<std::vector<int32_t>>(masks.size(), std::vector<int32_t>(size, 1)));
  sample.lengths.assign(masks.size(), static_cast<int64_t>(size));
  for (size_t l = 0; l < sample.layers.size(); ++l) {
    for (size_t b = 0; b < masks.size(); ++b) {
      for (size_t h = 0; h < sample.layers[l][b].size(); ++h) {
        for (size_t i = 0; i < size; ++i) {
          std::vector<double>& row = sample.layers[l][b][h][i];
          if (sample.masks[b][i] == 0 && l % 2 == 0) row = everywhere.layers[l][b][h][i];
          for (size_t j = 0; j < size; ++j) {
            if (sample.masks[b][i] != 0 && sample.masks[b][j] == 0) row[j] = 0;
          }
        }
      }
    }
  }
  return sample;
}

Sample SampleOf(const std::vector<oracle::Matrix>& layers) {
  Sample sample;
  for (const oracle::Matrix& matrix : layers) sample.layers.push_back({{matrix}});
  sample.masks = {std::vector<int32_t>(layers[0].size(), 1)};
  sample.lengths = {static_cast<int64_t>(layers[0].size())};
  return sample;
}

ResolvedOptions Defaults(int32_t num_layers, Preset preset) {
  ResolvedOptions options;
  options.preset = preset;
  options.layer_idx = num_layers - 1;
  options.end_layer = num_layers - 1;
  return options;
}

ChunkFold FoldSample(const Sample& sample, const ResolvedOptions& options, int64_t block_rows,
                     at::ScalarType dtype, const std::optional<RowSelection>& rows) {
  const at::TensorOptions tensor_options(at::kFloat);
  ChunkFold chunk;
  int64_t longest = 0;
  for (size_t b = 0; b < sample.lengths.size(); ++b) {
    const std::vector<int32_t> mask(sample.masks[b].begin(), sample.masks[b].begin() + sample.lengths[b]);
    ValidPositions valid = options.include_padding
                               ? ValidPositions::Everywhere(mask, sample.lengths[b], tensor_options)
                               : ValidPositions(mask, sample.lengths[b], tensor_options);
    std::optional<std::vector<RowRun>> runs;
    if (rows.has_value()) runs = SelectRows(*rows, mask, sample.lengths[b]);
    chunk.folds.emplace_back(options, std::move(valid), tensor_options, runs);
    longest = std::max(longest, sample.lengths[b]);
  }
  // Poison shows what is read before it was written.
  at::Tensor spare = at::full({longest * longest}, std::numeric_limits<float>::quiet_NaN(), tensor_options);
  for (size_t l = 0; l < sample.layers.size(); ++l) {
    for (SequenceFold& fold : chunk.folds) fold.BeginLayer(static_cast<int32_t>(l), /*measure=*/true);
    chunk.statistics.emplace_back();
    for (size_t b = 0; b < chunk.folds.size(); ++b) {
      const at::Tensor probabilities = ToTensor(sample.layers[l][b], dtype);
      const int64_t size = probabilities.size(1);
      for (int64_t first = 0; first < size; first += block_rows) {
        const int64_t rows = std::min(block_rows, size - first);
        chunk.folds[b].AddRows(first, probabilities.narrow(1, first, rows), spare);
      }
      const absl::StatusOr<AttentionStatistics> statistics = chunk.folds[b].EndLayer(spare);
      EXPECT_TRUE(statistics.ok()) << statistics.status();
      chunk.statistics.back().push_back(statistics.value_or(AttentionStatistics()));
    }
  }
  return chunk;
}

oracle::Matrix ToMatrix(const at::Tensor& tensor) {
  const at::Tensor cells = tensor.to(at::kCPU, at::kDouble).contiguous();
  const auto access = cells.accessor<double, 2>();
  oracle::Matrix matrix(cells.size(0), std::vector<double>(cells.size(1)));
  for (int64_t i = 0; i < cells.size(0); ++i) {
    for (int64_t j = 0; j < cells.size(1); ++j) matrix[i][j] = access[i][j];
  }
  return matrix;
}

at::Tensor ToTensor(const std::vector<oracle::Matrix>& heads, at::ScalarType dtype) {
  const auto size = static_cast<int64_t>(heads[0].size());
  std::vector<double> cells;
  for (const oracle::Matrix& head : heads) {
    for (const auto& row : head) cells.insert(cells.end(), row.begin(), row.end());
  }
  return at::tensor(cells, at::TensorOptions(at::kDouble))
      .view({static_cast<int64_t>(heads.size()), size, size})
      .to(dtype);
}

void ExpectAgreesWithOracle(const Sample& sample, const ResolvedOptions& options, int64_t block_rows,
                            double tolerance, at::ScalarType dtype) {
  const oracle::NaiveResult want = oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, options);
  const ChunkFold chunk = FoldSample(sample, options, block_rows, dtype);
  for (size_t b = 0; b < chunk.folds.size(); ++b) {
    SCOPED_TRACE(b);
    ExpectNear(chunk.folds[b].rollout(), want.rollouts[b], tolerance);
  }
}

void ExpectNear(const at::Tensor& got, const oracle::Matrix& want, double tolerance) {
  const oracle::Matrix matrix = ToMatrix(got);
  ASSERT_LE(matrix.size(), want.size());
  for (size_t i = 0; i < matrix.size(); ++i) {
    for (size_t j = 0; j < matrix[i].size(); ++j) {
      ASSERT_NEAR(matrix[i][j], want[i][j], tolerance) << "row " << i << ", column " << j;
    }
  }
}

}  // namespace attribution::rollout
