// Tests requests for chosen rows of the rollout alone: how they are computed, and that it does not show.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/engine/test_engine.h"

namespace attribution::engine {
namespace {

using Kind = RowSelection::Kind;
using Rows = std::map<std::pair<int32_t, int32_t>, std::vector<float>>;  // by sequence and row number

constexpr int64_t kLongest = 48;

// Sequences of 48, 31 and 40 positions; the last has a gap and left padding. Positions 2 and 5 are valid in
// all.
AttributionRequest RequestOf(const std::string& model, Preset preset, const RowSelection& rows) {
  TokenBatch batch;
  for (const int64_t length : {kLongest, int64_t{31}, int64_t{40}}) {
    TokenSequence sequence;
    for (int64_t i = 0; i < length; ++i) sequence.input_ids.push_back((length + 7 * i) % 90 + 4);
    batch.sequences.push_back(sequence);
  }
  std::vector<int32_t> mask(40, 1);
  mask[0] = mask[3] = mask[39] = 0;
  batch.sequences[2].attention_mask = mask;
  AttributionRequest request;
  request.model = model;
  request.input = std::move(batch);
  request.options.preset = preset;
  request.output.rollout_matrix = true;
  request.output.rows = rows;
  request.output.layer_metrics = true;
  request.output.skip_rollout_metrics = true;
  return request;
}

Rows RowsOf(const std::vector<Event>& events) {
  Rows rows;
  for (const Event& event : events) {
    const auto* slice = std::get_if<MatrixSlice>(&event);
    if (slice == nullptr || slice->kind != MatrixKind::kRollout) continue;
    std::vector<float> cells(slice->data.size() / sizeof(float));
    std::memcpy(cells.data(), slice->data.data(), slice->data.size());
    for (int32_t i = 0; i < slice->rows; ++i) {
      const auto begin = cells.begin() + static_cast<ptrdiff_t>(i) * slice->columns;
      rows[{slice->sequence_index, slice->first_row + i}] = {begin, begin + slice->columns};
    }
  }
  return rows;
}

class EngineRowsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine_ = new TestEngine({"tiny-bert-sdpa", "tiny-bert-eager", "tiny-gpt2-sdpa"});
  }
  static void TearDownTestSuite() {
    delete engine_;
    engine_ = nullptr;
  }

  // Runs `request`, expects the method and that its memory was foreseen.
  static TestEngine::Outcome Run(const AttributionRequest& request, RolloutMethod want) {
    TestEngine::Outcome outcome = engine_->Run(request);
    EXPECT_TRUE(outcome.status.ok()) << outcome.status;
    const auto& admitted = std::get<Admitted>(outcome.events.at(0));
    EXPECT_EQ(admitted.rollout_method, want);
    EXPECT_LE(outcome.result.measured_peak_bytes, admitted.estimated_peak_bytes);
    return outcome;
  }

  // The same rows by way of the whole matrix, which the metrics of the rollout need.
  static TestEngine::Outcome RunWhole(AttributionRequest request) {
    request.output.skip_rollout_metrics = false;
    return Run(request, RolloutMethod::kFullMatrix);
  }

  static TestEngine* engine_;
};

TestEngine* EngineRowsTest::engine_ = nullptr;

class EngineRowsAloneTest
    : public EngineRowsTest,
      public testing::WithParamInterface<std::tuple<const char*, Preset, RowSelection, int32_t>> {};

TEST_P(EngineRowsAloneTest, EqualThoseOfTheMatrix) {
  const auto& [model, preset, rows, chunk_size] = GetParam();
  AttributionRequest request = RequestOf(model, preset, rows);
  request.options.max_chunk_size = chunk_size;
  const TestEngine::Outcome alone = Run(request, RolloutMethod::kSelectedRows);
  const TestEngine::Outcome whole = RunWhole(request);

  const Rows got = RowsOf(alone.events);
  const Rows want = RowsOf(whole.events);
  ASSERT_EQ(got.size(), rows.kind == Kind::kIndices ? 6u : 3u);
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [key, cells] : want) {
    ASSERT_TRUE(got.contains(key)) << "sequence " << key.first << ", row " << key.second;
    ASSERT_EQ(got.at(key).size(), cells.size());
    for (size_t j = 0; j < cells.size(); ++j) EXPECT_NEAR(got.at(key)[j], cells[j], 1e-6);
  }

  for (size_t i = 0; i < 3; ++i) {
    const Metrics& metrics = alone.result.sequences.at(i);
    EXPECT_FALSE(metrics.rollout_max.has_value());
    EXPECT_FALSE(metrics.rollout_entropy.has_value());
    EXPECT_EQ(metrics.attention_entropy, whole.result.sequences.at(i).attention_entropy);
    EXPECT_EQ(metrics.seq_length, whole.result.sequences.at(i).seq_length);
  }
  EXPECT_FALSE(alone.result.metrics.rollout_max.has_value());
  EXPECT_EQ(alone.result.metrics.max_attention, whole.result.metrics.max_attention);
  EXPECT_EQ(alone.result.layers.size(), whole.result.layers.size());
}

INSTANTIATE_TEST_SUITE_P(
    Requests, EngineRowsAloneTest,
    testing::Combine(testing::Values("tiny-bert-sdpa", "tiny-bert-eager", "tiny-gpt2-sdpa"),
                     testing::Values(Preset::kAbnar2020, Preset::kIclrMetrics, Preset::kVitExplain),
                     testing::Values(RowSelection{Kind::kFirstValid, {}}, RowSelection{Kind::kLastValid, {}},
                                     RowSelection{Kind::kIndices, {5, 2}}),
                     testing::Values(0, 1)));

TEST_F(EngineRowsTest, WhateverNeedsTheMatrixGetsIt) {
  AttributionRequest request =
      RequestOf("tiny-bert-sdpa", Preset::kIclrMetrics, RowSelection{Kind::kLastValid, {}});
  Run(request, RolloutMethod::kSelectedRows);
  request.output.top_k = 3;
  Run(request, RolloutMethod::kFullMatrix);
  request.output.top_k = 0;
  request.options.discard_ratio = 0.5;
  Run(request, RolloutMethod::kFullMatrix);
}

TEST_F(EngineRowsTest, LayersAndPaddingGoWithRowsAlone) {
  AttributionRequest request =
      RequestOf("tiny-bert-sdpa", Preset::kAbnar2020, RowSelection{Kind::kLastValid, {}});
  request.options.include_padding = true;
  request.output.layer_matrices = true;
  const Rows got = RowsOf(Run(request, RolloutMethod::kSelectedRows).events);
  const Rows want = RowsOf(RunWhole(request).events);
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [key, cells] : want) {
    ASSERT_EQ(cells.size(), static_cast<size_t>(kLongest));
    for (size_t j = 0; j < cells.size(); ++j) EXPECT_NEAR(got.at(key)[j], cells[j], 1e-6);
  }
}

// Rows that go forward hold neither R nor the spare.
TEST_F(EngineRowsTest, ForwardRowsNeedLessMemoryThanTheMatrix) {
  const AttributionRequest request =
      RequestOf("tiny-bert-sdpa", Preset::kIclrMetrics, RowSelection{Kind::kLastValid, {}});
  const int64_t alone = Run(request, RolloutMethod::kSelectedRows).result.measured_attention_bytes;
  const int64_t whole = RunWhole(request).result.measured_attention_bytes;
  EXPECT_GE(whole - alone, kLongest * kLongest * 4 * 2);
}

}  // namespace
}  // namespace attribution::engine
