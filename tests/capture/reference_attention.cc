#include "tests/capture/reference_attention.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <vector>

namespace attribution::capture {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// What the masks add to every score: [B, H, S, S] float64.
at::Tensor AddedToScores(const AttentionInputs& inputs) {
  const int64_t length = inputs.query.size(2);
  const std::vector<int64_t> shape = {inputs.query.size(0), inputs.query.size(1), length, length};
  const at::Tensor added = at::zeros(shape, at::kDouble);
  auto cells = added.accessor<double, 4>();
  at::Tensor given;
  const bool is_bool = inputs.mask.has_value() && inputs.mask->scalar_type() == at::kBool;
  if (inputs.mask.has_value()) given = inputs.mask->to(at::kDouble).expand(shape).contiguous();
  for (int64_t b = 0; b < shape[0]; ++b) {
    for (int64_t h = 0; h < shape[1]; ++h) {
      for (int64_t i = 0; i < length; ++i) {
        for (int64_t j = 0; j < length; ++j) {
          const double value =
              given.defined() ? given.data_ptr<double>()[((b * shape[1] + h) * length + i) * length + j] : 0;
          if (given.defined()) cells[b][h][i][j] = is_bool ? (value != 0 ? 0 : kMinusInfinity) : value;
          if (inputs.is_causal && j > i) cells[b][h][i][j] = kMinusInfinity;
        }
      }
    }
  }
  return added;
}

// Turns scores into probabilities in place.
void Softmax(std::vector<double>& row) {
  double largest = kMinusInfinity;
  for (const double score : row) largest = std::max(largest, score);
  double sum = 0;
  for (double& cell : row) {
    cell = largest == kMinusInfinity ? 0 : std::exp(cell - largest);
    sum += cell;
  }
  for (double& cell : row) cell = sum == 0 ? 0 : cell / sum;
}

}  // namespace

ReferenceAttention ComputeReferenceAttention(const AttentionInputs& inputs) {
  const at::Tensor query = inputs.query.to(at::kDouble).contiguous();
  const at::Tensor key = inputs.key.to(at::kDouble).contiguous();
  const at::Tensor value = inputs.value.to(at::kDouble).contiguous();
  const at::Tensor added = AddedToScores(inputs);
  const auto q = query.accessor<double, 4>();
  const auto k = key.accessor<double, 4>();
  const auto v = value.accessor<double, 4>();
  const auto mask = added.accessor<double, 4>();
  const int64_t length = query.size(2);
  const int64_t heads_a_key = query.size(1) / key.size(1);
  const double scale = inputs.scale.value_or(1 / std::sqrt(static_cast<double>(query.size(3))));
  ReferenceAttention result{at::zeros(added.sizes(), at::kDouble),
                            at::zeros({query.size(0), query.size(1), length, value.size(3)}, at::kDouble)};
  auto probabilities = result.probabilities.accessor<double, 4>();
  auto output = result.output.accessor<double, 4>();
  std::vector<double> row(length);
  for (int64_t b = 0; b < query.size(0); ++b) {
    for (int64_t h = 0; h < query.size(1); ++h) {
      const int64_t shared = h / heads_a_key;  // the key and value head that query head h reads
      for (int64_t i = 0; i < length; ++i) {
        for (int64_t j = 0; j < length; ++j) {
          double product = 0;
          for (int64_t d = 0; d < query.size(3); ++d) product += q[b][h][i][d] * k[b][shared][j][d];
          row[j] = scale * product + mask[b][h][i][j];
        }
        Softmax(row);
        for (int64_t j = 0; j < length; ++j) {
          probabilities[b][h][i][j] = row[j];
          for (int64_t d = 0; d < value.size(3); ++d) output[b][h][i][d] += row[j] * v[b][shared][j][d];
        }
      }
    }
  }
  return result;
}

}  // namespace attribution::capture
