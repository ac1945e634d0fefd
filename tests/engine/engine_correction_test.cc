// Tests corrected rollouts from the engine: rows, largest cells and metrics, whatever the cut.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "tests/engine/oracle_example.h"
#include "tests/engine/test_engine.h"
#include "tests/oracle/naive_correction.h"

namespace attribution::engine {
namespace {

using Case = std::tuple<const char*, CausalCorrection, Preset, int32_t>;  // model, …, chunk size

class EngineCorrectionTest : public testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() { suite_engine = new TestEngine({"tiny-bert-sdpa", "tiny-gpt2-sdpa"}); }
  static void TearDownTestSuite() {
    delete suite_engine;
    suite_engine = nullptr;
  }

  EngineCorrectionTest()
      : example_(LoadExample(std::get<0>(GetParam()))), request_(example_.Request(std::get<2>(GetParam()))) {
    request_.options.causal_correction = std::get<1>(GetParam());
    request_.options.max_chunk_size = std::get<3>(GetParam());
    request_.output.top_k = 3;
  }

  static TestEngine::Outcome Run(const AttributionRequest& request) {
    TestEngine::Outcome outcome = suite_engine->Run(request);
    EXPECT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_LE(outcome.result.measured_peak_bytes,
              std::get<Admitted>(outcome.events.at(0)).estimated_peak_bytes);
    return outcome;
  }

  // [B][S][S].
  std::vector<oracle::Matrix> Expected(const Admitted& admitted) const {
    return oracle::NaiveCorrection(example_.layers, example_.masks, example_.lengths, admitted.options);
  }

  static TestEngine* suite_engine;
  OracleExample example_;
  AttributionRequest request_;
};

TestEngine* EngineCorrectionTest::suite_engine = nullptr;

TEST_P(EngineCorrectionTest, RowsCellsAndMetricsEqualTheOracle) {
  const TestEngine::Outcome outcome = Run(request_);
  const std::vector<oracle::Matrix> want = Expected(std::get<Admitted>(outcome.events[0]));
  std::vector<int64_t> rows(want.size());
  std::vector<int64_t> cells(want.size());
  std::vector<MatrixKind> kinds;  // of the matrices of the first sequence
  for (const Event& event : outcome.events) {
    if (const auto* slice = std::get_if<MatrixSlice>(&event)) {
      if (slice->sequence_index == 0) kinds.push_back(slice->kind);
      if (slice->kind != MatrixKind::kCorrected) continue;
      rows[slice->sequence_index] += slice->rows;
      const auto* values = reinterpret_cast<const float*>(slice->data.data());
      for (int32_t i = 0; i < slice->rows; ++i) {
        for (int32_t j = 0; j < slice->columns; ++j) {
          EXPECT_NEAR(values[i * slice->columns + j], want[slice->sequence_index][slice->first_row + i][j],
                      2e-5);
        }
      }
    } else if (const auto* top = std::get_if<TopCells>(&event); top && top->kind == MatrixKind::kCorrected) {
      for (const Cell& cell : top->cells) {
        ++cells[top->sequence_index];
        EXPECT_NEAR(cell.value, want[top->sequence_index][cell.row][cell.column], 2e-5);
      }
    }
  }
  EXPECT_EQ(rows, example_.lengths);
  EXPECT_EQ(cells, std::vector<int64_t>(want.size(), 3));
  ASSERT_GE(kinds.size(), 2U);
  EXPECT_EQ(kinds[0], MatrixKind::kRollout);
  EXPECT_EQ(kinds[1], MatrixKind::kCorrected);

  double largest = 0;
  double entropy = 0;
  double valid_rows = 0;
  for (size_t b = 0; b < want.size(); ++b) {
    for (size_t i = 0; i < want[b].size(); ++i) {
      valid_rows += example_.masks[b][i];
      for (const double cell : want[b][i]) {
        largest = std::max(largest, cell);
        entropy -= cell * std::log(std::max(cell, 1e-12));
      }
    }
  }
  ASSERT_TRUE(outcome.result.corrected.has_value());
  EXPECT_NEAR(outcome.result.corrected->rollout_max.value(), largest, 2e-5);
  EXPECT_NEAR(outcome.result.corrected->rollout_entropy.value(), entropy / valid_rows, 2e-5);
  EXPECT_FALSE(outcome.result.corrected->mean_attention.has_value());
  EXPECT_EQ(outcome.result.corrected->batch_size, outcome.result.metrics.batch_size);
  EXPECT_EQ(outcome.result.corrected->seq_length, outcome.result.metrics.seq_length);
}

TEST_P(EngineCorrectionTest, SkippedRolloutMetricsAreAbsent) {
  request_.output.skip_rollout_metrics = true;
  EXPECT_FALSE(Run(request_).result.corrected.has_value());
}

INSTANTIATE_TEST_SUITE_P(
    Models, EngineCorrectionTest,
    testing::Combine(testing::Values("tiny-bert-sdpa", "tiny-gpt2-sdpa"),
                     testing::Values(CausalCorrection::kUniformRatio, CausalCorrection::kDropFirst),
                     testing::Values(Preset::kAbnar2020, Preset::kIclrMetrics), testing::Values(0, 1)),
    [](const auto& info) {
      std::string name = std::get<0>(info.param);
      for (char& letter : name) {
        if (letter == '-') letter = '_';
      }
      return name +
             (std::get<1>(info.param) == CausalCorrection::kUniformRatio ? "UniformRatio" : "DropFirst") +
             std::to_string(static_cast<int>(std::get<2>(info.param))) + "Chunk" +
             std::to_string(std::get<3>(info.param));
    });

}  // namespace
}  // namespace attribution::engine
