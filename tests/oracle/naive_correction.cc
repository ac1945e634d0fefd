#include "tests/oracle/naive_correction.h"

#include <algorithm>
#include <cstddef>

namespace attribution::oracle {
namespace {

// One head, uniform over what may be seen.
Matrix Uniform(const std::vector<Matrix>& heads, const std::vector<int32_t>& mask) {
  const size_t size = heads[0].size();
  Matrix uniform(size, std::vector<double>(size, 0));
  for (size_t i = 0; i < size; ++i) {
    double count = 0;
    for (size_t j = 0; j < size; ++j) {
      for (const Matrix& head : heads) {
        if (mask[i] != 0 && mask[j] != 0 && head[i][j] > 0) uniform[i][j] = 1;
      }
      count += uniform[i][j];
    }
    for (double& cell : uniform[i]) cell /= std::max(count, 1.0);
  }
  return uniform;
}

std::vector<Matrix> UniformRollouts(std::vector<Layer> layers, const Masks& masks,
                                    const std::vector<int64_t>& lengths, ResolvedOptions options) {
  options.head.reset();
  for (Layer& layer : layers) {
    for (size_t b = 0; b < layer.size(); ++b) layer[b] = {Uniform(layer[b], masks[b])};
  }
  return NaiveRollout(layers, masks, lengths, options).rollouts;
}

void DivideBySum(std::vector<double>& row) {
  double sum = 0;
  for (const double cell : row) sum += cell;
  for (double& cell : row) cell /= std::max(sum, 1e-10);
}

}  // namespace

std::vector<Matrix> NaiveCorrection(const std::vector<Layer>& layers, const Masks& masks,
                                    const std::vector<int64_t>& lengths, const ResolvedOptions& options) {
  std::vector<Matrix> rollouts = NaiveRollout(layers, masks, lengths, options).rollouts;
  const std::vector<Matrix> uniform = UniformRollouts(layers, masks, lengths, options);
  for (size_t b = 0; b < rollouts.size(); ++b) {
    const auto first = std::find(masks[b].begin(), masks[b].end(), 1) - masks[b].begin();
    for (size_t i = 0; i < rollouts[b].size(); ++i) {
      std::vector<double>& row = rollouts[b][i];
      for (size_t j = 0; j < row.size(); ++j) {
        if (options.causal_correction == CausalCorrection::kUniformRatio) {
          row[j] = uniform[b][i][j] < 1e-30 ? 0 : row[j] / uniform[b][i][j];
        } else if (static_cast<ptrdiff_t>(j) == first) {
          row[j] = 0;
        }
      }
      DivideBySum(row);
    }
  }
  return rollouts;
}

}  // namespace attribution::oracle
