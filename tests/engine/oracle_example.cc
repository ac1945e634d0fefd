#include "tests/engine/oracle_example.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/script.h>

#include <cstring>

namespace attribution::engine {
namespace {

oracle::Matrix MatrixOf(const at::Tensor& tensor) {
  const auto cells = tensor.accessor<double, 2>();
  oracle::Matrix matrix(cells.size(0));
  for (int64_t i = 0; i < cells.size(0); ++i) {
    for (int64_t j = 0; j < cells.size(1); ++j) matrix[i].push_back(cells[i][j]);
  }
  return matrix;
}

// What docs/rollout.md says that the preset sets.
ResolvedOptions Resolved(size_t layers, Preset preset, double residual_weight) {
  ResolvedOptions options;
  if (preset == Preset::kChefer2021) options.start_layer = 1;
  if (preset == Preset::kVitExplain || preset == Preset::kVitExplainFixed) options.discard_ratio = 0.9;
  options.preset = preset;
  options.residual_weight = residual_weight;
  options.layer_idx = options.end_layer = static_cast<int32_t>(layers) - 1;
  return options;
}

}  // namespace

AttributionRequest OracleExample::Request(Preset preset, double residual_weight) const {
  AttributionRequest request;
  request.model = model;
  request.input = TokenBatch{sequences};
  request.options.preset = preset;
  request.options.residual_weight = residual_weight;
  request.output.layer_metrics = true;
  request.output.rollout_matrix = true;
  return request;
}

oracle::NaiveResult OracleExample::Expected(Preset preset, double residual_weight) const {
  return oracle::NaiveRollout(layers, masks, lengths, Resolved(layers.size(), preset, residual_weight));
}

OracleExample OracleExample::Pick(const std::vector<size_t>& numbers) const {
  OracleExample picked;
  picked.model = model;
  picked.layers.resize(layers.size());
  for (const size_t number : numbers) {
    picked.sequences.push_back(sequences[number]);
    picked.masks.push_back(masks[number]);
    picked.lengths.push_back(lengths[number]);
    for (size_t l = 0; l < layers.size(); ++l) picked.layers[l].push_back(layers[l][number]);
  }
  return picked;
}

OracleExample LoadExample(const std::string& model, bool ragged) {
  const torch::jit::Module holder =
      torch::jit::load(std::string(ATTRIBUTION_FIXTURES) + "/.oracle/" + model + ".pt");
  const at::Tensor ids = holder.attr("input_ids").toTensor().contiguous();
  const at::Tensor mask = holder.attr("attention_mask").toTensor().contiguous();
  const at::Tensor attentions = holder.attr("attentions").toTensor().contiguous();

  OracleExample example;
  example.model = model;
  for (int64_t b = 0; b < ids.size(0); ++b) {
    const auto* mask_row = mask[b].data_ptr<int64_t>();
    example.masks.emplace_back(mask_row, mask_row + mask.size(1));
    TokenSequence sequence;
    const auto* id_row = ids[b].data_ptr<int64_t>();
    sequence.input_ids.assign(id_row, id_row + ids.size(1));
    sequence.attention_mask = example.masks.back();
    while (ragged && sequence.attention_mask.back() == 0) {
      sequence.attention_mask.pop_back();
      sequence.input_ids.pop_back();
    }
    example.lengths.push_back(static_cast<int64_t>(sequence.input_ids.size()));
    example.sequences.push_back(sequence);
  }
  for (int64_t l = 0; l < attentions.size(0); ++l) {
    oracle::Layer layer(ids.size(0));
    for (int64_t b = 0; b < ids.size(0); ++b) {
      for (int64_t h = 0; h < attentions.size(2); ++h) layer[b].push_back(MatrixOf(attentions[l][b][h]));
    }
    example.layers.push_back(layer);
  }
  return example;
}

void ExpectNear(const Metrics& got, const Metrics& want, double tolerance) {
  ASSERT_TRUE(got.mean_attention && got.max_attention && got.attention_entropy &&
              got.attention_concentration && got.rollout_max && got.rollout_entropy);
  EXPECT_NEAR(*got.mean_attention, *want.mean_attention, tolerance);
  EXPECT_NEAR(*got.max_attention, *want.max_attention, tolerance);
  EXPECT_NEAR(*got.attention_entropy, *want.attention_entropy, tolerance);
  EXPECT_NEAR(*got.attention_concentration, *want.attention_concentration, tolerance);
  EXPECT_NEAR(*got.rollout_max, *want.rollout_max, tolerance);
  EXPECT_NEAR(*got.rollout_entropy, *want.rollout_entropy, tolerance);
  EXPECT_EQ(got.batch_size, want.batch_size);
  EXPECT_EQ(got.seq_length, want.seq_length);
}

void ExpectNear(const LayerMetrics& got, const LayerMetrics& want, double tolerance) {
  EXPECT_EQ(got.layer_idx, want.layer_idx);
  EXPECT_NEAR(got.mean_attention, want.mean_attention, tolerance);
  EXPECT_NEAR(got.max_attention, want.max_attention, tolerance);
  EXPECT_NEAR(got.attention_entropy, want.attention_entropy, tolerance);
  EXPECT_NEAR(got.attention_concentration, want.attention_concentration, tolerance);
  EXPECT_EQ(got.num_rows, want.num_rows);
  EXPECT_EQ(got.num_cells, want.num_cells);
}

oracle::Matrix RolloutOf(const std::vector<Event>& events, int32_t sequence) {
  oracle::Matrix matrix;
  for (const Event& event : events) {
    const auto* slice = std::get_if<MatrixSlice>(&event);
    if (slice == nullptr || slice->sequence_index != sequence || slice->kind != MatrixKind::kRollout)
      continue;
    EXPECT_EQ(slice->encoding, MatrixEncoding::kFloat32);
    EXPECT_EQ(slice->first_row, static_cast<int32_t>(matrix.size()));
    std::vector<float> cells(static_cast<size_t>(slice->rows) * slice->columns);
    EXPECT_EQ(slice->data.size(), cells.size() * sizeof(float));
    std::memcpy(cells.data(), slice->data.data(), std::min(slice->data.size(), cells.size() * sizeof(float)));
    for (int32_t row = 0; row < slice->rows; ++row) {
      const auto begin = cells.begin() + static_cast<ptrdiff_t>(row) * slice->columns;
      matrix.emplace_back(begin, begin + slice->columns);
    }
  }
  return matrix;
}

void ExpectAsOracle(const std::vector<Event>& events, const OracleExample& example, Preset preset,
                    double residual_weight, double tolerance) {
  const oracle::NaiveResult want = example.Expected(preset, residual_weight);
  ASSERT_FALSE(events.empty());
  const auto* result = std::get_if<AttributionResult>(&events.back());
  ASSERT_NE(result, nullptr);
  ExpectNear(result->metrics, want.batch, tolerance);
  ASSERT_EQ(result->sequences.size(), want.sequences.size());
  ASSERT_EQ(result->layers.size(), want.layers.size());
  for (size_t l = 0; l < want.layers.size(); ++l) {
    SCOPED_TRACE(testing::Message() << "layer " << l);
    ExpectNear(result->layers[l], want.layers[l], tolerance);
  }
  for (size_t b = 0; b < want.sequences.size(); ++b) {
    SCOPED_TRACE(testing::Message() << "sequence " << b);
    ExpectNear(result->sequences[b], want.sequences[b], tolerance);
    const oracle::Matrix rollout = RolloutOf(events, static_cast<int32_t>(b));
    ASSERT_EQ(rollout.size(), static_cast<size_t>(example.lengths[b]));
    for (size_t i = 0; i < rollout.size(); ++i) {
      ASSERT_EQ(rollout[i].size(), rollout.size());
      for (size_t j = 0; j < rollout.size(); ++j) {
        ASSERT_NEAR(rollout[i][j], want.rollouts[b][i][j], tolerance) << "row " << i << ", column " << j;
      }
    }
  }
}

}  // namespace attribution::engine
