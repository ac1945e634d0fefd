// Tests what the engine sends besides metrics: chosen rows, layers, largest cells; whatever the cut and the
// company.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "tests/engine/oracle_example.h"
#include "tests/engine/test_engine.h"

namespace attribution::engine {
namespace {

using testing::ElementsAre;
using Rows = std::map<int32_t, std::vector<double>>;  // by row number
using Kind = RowSelection::Kind;

constexpr int32_t kRollout = -1;  // in place of a layer's number

OutputSelection LayerMatrices() {
  OutputSelection output;
  output.layer_matrices = true;
  return output;
}

OutputSelection TopCellsOnly(int32_t top_k) {
  OutputSelection output;
  output.top_k = top_k;
  return output;
}

// The rows of every matrix that was sent: [sequence, layer or kRollout]. Expects each row once.
std::map<std::pair<int32_t, int32_t>, Rows> MatricesOf(const std::vector<Event>& events) {
  std::map<std::pair<int32_t, int32_t>, Rows> matrices;
  for (const Event& event : events) {
    const auto* slice = std::get_if<MatrixSlice>(&event);
    if (slice == nullptr) continue;
    EXPECT_EQ(slice->kind, slice->layer_idx < 0 ? MatrixKind::kRollout : MatrixKind::kLayerAttention);
    const bool half = slice->encoding == MatrixEncoding::kFloat16;
    const at::Tensor cells = at::empty({slice->rows, slice->columns}, half ? at::kHalf : at::kFloat);
    EXPECT_EQ(slice->data.size(), cells.nbytes());
    std::memcpy(cells.mutable_data_ptr(), slice->data.data(), cells.nbytes());
    const at::Tensor values = cells.to(at::kDouble);
    Rows& rows = matrices[{slice->sequence_index, slice->layer_idx}];
    for (int32_t i = 0; i < slice->rows; ++i) {
      const double* row = values[i].const_data_ptr<double>();
      EXPECT_TRUE(rows.emplace(slice->first_row + i, std::vector<double>(row, row + slice->columns)).second);
    }
  }
  return matrices;
}

// Expects rows `numbers` of `want` [S][S], S >= length.
void ExpectRows(const Rows& got, const oracle::Matrix& want, const std::vector<int32_t>& numbers,
                int64_t length, double tolerance) {
  ASSERT_EQ(got.size(), numbers.size());
  for (const int32_t number : numbers) {
    ASSERT_TRUE(got.contains(number)) << number;
    ASSERT_EQ(got.at(number).size(), static_cast<size_t>(length));
    for (int64_t j = 0; j < length; ++j) {
      EXPECT_NEAR(got.at(number)[j], want[number][j], tolerance) << "row " << number << ", column " << j;
    }
  }
}

// The rows that `selection` means in a sequence with this mask, found the plain way.
std::vector<int32_t> NumbersOf(const RowSelection& selection, const std::vector<int32_t>& mask,
                               int64_t length) {
  std::vector<int32_t> valid;
  std::vector<int32_t> all;
  for (int32_t i = 0; i < length; ++i) {
    all.push_back(i);
    if (mask[i] == 1) valid.push_back(i);
  }
  if (selection.kind == Kind::kFirstValid) return {valid.front()};
  if (selection.kind == Kind::kLastValid) return {valid.back()};
  return selection.kind == Kind::kAll ? all : selection.indices;
}

// Expects rows `rows` of the rollout and of all layers of every sequence to be the oracle's.
void ExpectMatrices(const std::vector<Event>& events, const OracleExample& example, const RowSelection& rows,
                    double tolerance) {
  const auto matrices = MatricesOf(events);
  const oracle::NaiveResult want = example.Expected();
  ASSERT_EQ(matrices.size(), example.lengths.size() * (1 + example.layers.size()));
  for (const auto& [key, got] : matrices) {
    const auto [sequence, layer] = key;
    SCOPED_TRACE(testing::Message() << "sequence " << sequence << ", layer " << layer);
    const int64_t length = example.lengths[sequence];
    const std::vector<int32_t> numbers = NumbersOf(rows, example.masks[sequence], length);
    ExpectRows(got, layer == kRollout ? want.rollouts[sequence] : want.attention[sequence][layer], numbers,
               length, tolerance);
  }
}

class EngineOutputTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine_ = new TestEngine({"tiny-bert-sdpa", "tiny-bert-eager", "tiny-gpt2-sdpa", "ids-only"});
  }
  static void TearDownTestSuite() {
    delete engine_;
    engine_ = nullptr;
  }

  static TestEngine::Outcome Run(const AttributionRequest& request) {
    TestEngine::Outcome outcome = engine_->Run(request);
    EXPECT_TRUE(outcome.status.ok()) << outcome.status;
    const auto& admitted = std::get<Admitted>(outcome.events.at(0));
    EXPECT_LE(outcome.result.measured_peak_bytes, admitted.estimated_peak_bytes);
    return outcome;
  }

  static TestEngine* engine_;
};

TestEngine* EngineOutputTest::engine_ = nullptr;

using Case = std::tuple<const char*, RowSelection, MatrixEncoding, int32_t>;  // model, rows, encoding, chunk

class EngineMatricesTest : public EngineOutputTest, public testing::WithParamInterface<Case> {};

TEST_P(EngineMatricesTest, ChosenRowsOfRolloutAndLayersEqualTheOracle) {
  const auto& [model, rows, encoding, chunk_size] = GetParam();
  const OracleExample example = LoadExample(model);
  AttributionRequest request = example.Request();
  request.output.layer_matrices = true;
  request.output.rows = rows;
  request.output.encoding = encoding;
  request.options.max_chunk_size = chunk_size;
  ExpectMatrices(Run(request).events, example, rows, encoding == MatrixEncoding::kFloat16 ? 5e-4 : 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Rows, EngineMatricesTest,
                         testing::Combine(testing::Values("tiny-bert-sdpa", "tiny-bert-eager",
                                                          "tiny-gpt2-sdpa"),
                                          testing::Values(RowSelection{}, RowSelection{Kind::kFirstValid, {}},
                                                          RowSelection{Kind::kLastValid, {}},
                                                          RowSelection{Kind::kIndices, {0, 2}}),
                                          testing::Values(MatrixEncoding::kFloat32, MatrixEncoding::kFloat16),
                                          testing::Values(0, 1, 2)));

// Requests of different outputs take turns on two workers, chunk by chunk.
TEST_F(EngineOutputTest, RequestsAtOnceKeepTheirRowsApart) {
  const RowSelection selections[] = {{}, {Kind::kFirstValid, {}}, {Kind::kLastValid, {}}};
  std::vector<OracleExample> examples;
  std::vector<StartedCall> calls;
  for (size_t i = 0; i < 9; ++i) {
    examples.push_back(LoadExample("tiny-bert-sdpa").Pick({i % 3, (i + 1) % 3}));
    AttributionRequest request = examples.back().Request();
    request.options.max_chunk_size = 1;
    request.output.layer_matrices = true;
    request.output.rows = selections[i % 3];
    calls.push_back(engine_->Start(std::move(request)));
  }
  for (size_t i = 0; i < calls.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "request " << i);
    ASSERT_TRUE(calls[i].sink->Wait().ok()) << calls[i].sink->Wait();
    ExpectMatrices(calls[i].sink->events(), examples[i], selections[i % 3], 1e-5);
  }
}

// Names matrices and cells of one event; empty for others.
std::string NameOf(const Event& event) {
  if (std::holds_alternative<ChunkMetrics>(event)) return "chunk";
  if (const auto* top = std::get_if<TopCells>(&event)) return absl::StrCat("top of ", top->sequence_index);
  if (const auto* slice = std::get_if<MatrixSlice>(&event)) {
    const std::string what = slice->layer_idx < 0 ? "rollout" : absl::StrCat("layer ", slice->layer_idx);
    return absl::StrCat(what, " of ", slice->sequence_index, ", row ", slice->first_row);
  }
  return "";
}

TEST_F(EngineOutputTest, OrderIsSequenceThenRolloutThenLayersThenTopCells) {
  AttributionRequest request = LoadExample("tiny-bert-sdpa").Request();
  request.options.attention_layer_pattern = "layer\\.[12]\\.";
  request.options.max_chunk_size = 2;
  request.output = LayerMatrices();
  request.output.rollout_matrix = true;
  request.output.top_k = 1;
  request.output.rows = {Kind::kIndices, {2, 0}};
  std::vector<std::string> names;
  for (const Event& event : Run(request).events) {
    if (std::string name = NameOf(event); !name.empty()) names.push_back(name);
  }
  EXPECT_THAT(names,
              ElementsAre("chunk",                                       //
                          "rollout of 0, row 0", "rollout of 0, row 2",  //
                          "layer 0 of 0, row 0", "layer 0 of 0, row 2",  //
                          "layer 1 of 0, row 0", "layer 1 of 0, row 2",  //
                          "rollout of 1, row 0", "rollout of 1, row 2",  //
                          "layer 0 of 1, row 0", "layer 0 of 1, row 2",  //
                          "layer 1 of 1, row 0", "layer 1 of 1, row 2",  //
                          "top of 0", "top of 1",                        //
                          "chunk",                                       //
                          "rollout of 2, row 0", "rollout of 2, row 2",  //
                          "layer 0 of 2, row 0", "layer 0 of 2, row 2",  //
                          "layer 1 of 2, row 0", "layer 1 of 2, row 2", "top of 2"));
}

// The pass must go on for them although neither rollout nor metrics need the last layer.
TEST_F(EngineOutputTest, LayersBeyondTheRolloutAreSentToo) {
  const OracleExample example = LoadExample("tiny-bert-sdpa");
  AttributionRequest request = example.Request();
  request.options.layer_idx = 0;
  request.options.start_layer = 1;
  request.options.end_layer = 1;
  request.options.head_fusion = HeadFusion::kMax;
  request.options.discard_ratio = 0.9;
  request.output = LayerMatrices();
  const auto matrices = MatricesOf(Run(request).events);
  ResolvedOptions max;
  max.head_fusion = HeadFusion::kMax;
  const oracle::NaiveResult want = oracle::NaiveRollout(example.layers, example.masks, example.lengths, max);
  ASSERT_EQ(matrices.size(), 9u);
  for (const auto& [key, got] : matrices) {
    const auto [sequence, layer] = key;
    SCOPED_TRACE(testing::Message() << "sequence " << sequence << ", layer " << layer);
    const int64_t length = example.lengths[sequence];
    ExpectRows(got, want.attention[sequence][layer], NumbersOf({}, example.masks[sequence], length), length,
               1e-5);
  }
}

TEST_F(EngineOutputTest, ModelWithoutMaskSendsRowsToo) {
  const OracleExample example = LoadExample("ids-only");
  AttributionRequest request = example.Request();
  request.output.rows.kind = Kind::kLastValid;
  const auto matrices = MatricesOf(Run(request).events);
  const int64_t length = example.lengths[0];
  ExpectRows(matrices.at({0, kRollout}), example.Expected().rollouts[0], {static_cast<int32_t>(length) - 1},
             length, 1e-5);
}

// Top cells of all sequences, by sequence.
std::map<int32_t, std::vector<Cell>> TopCellsOf(const std::vector<Event>& events) {
  std::map<int32_t, std::vector<Cell>> cells;
  for (const Event& event : events) {
    const auto* top = std::get_if<TopCells>(&event);
    if (top == nullptr) continue;
    EXPECT_EQ(top->kind, MatrixKind::kRollout);
    std::vector<Cell>& list = cells[top->sequence_index];
    list.insert(list.end(), top->cells.begin(), top->cells.end());
  }
  return cells;
}

TEST_F(EngineOutputTest, TopCellsAreTheLargestOfTheRollout) {
  const OracleExample example = LoadExample("tiny-bert-sdpa");
  const oracle::NaiveResult want = example.Expected();
  AttributionRequest request = example.Request();
  for (const int32_t chunk_size : {0, 1}) {
    request.options.max_chunk_size = chunk_size;
    request.output = TopCellsOnly(20);
    const auto top = TopCellsOf(Run(request).events);
    ASSERT_EQ(top.size(), 3u);
    for (const auto& [sequence, cells] : top) {
      std::vector<double> values;
      for (int64_t i = 0; i < example.lengths[sequence]; ++i) {
        for (int64_t j = 0; j < example.lengths[sequence]; ++j)
          values.push_back(want.rollouts[sequence][i][j]);
      }
      std::sort(values.rbegin(), values.rend());
      ASSERT_EQ(cells.size(), 20u);
      for (size_t k = 0; k < cells.size(); ++k) {
        EXPECT_NEAR(cells[k].value, values[k], 1e-5);
        EXPECT_NEAR(cells[k].value, want.rollouts[sequence][cells[k].row][cells[k].column], 1e-5);
      }
    }
  }
}

TEST_F(EngineOutputTest, TopCellsStopAtTheValidOnes) {
  const OracleExample example = LoadExample("tiny-gpt2-sdpa");
  AttributionRequest request = example.Request();
  request.output = TopCellsOnly(1 << 30);
  const auto top = TopCellsOf(Run(request).events);
  for (const auto& [sequence, cells] : top) {
    const auto valid = std::count(example.masks[sequence].begin(), example.masks[sequence].end(), 1);
    EXPECT_EQ(cells.size(), static_cast<size_t>(valid * valid));
  }
}

TEST_F(EngineOutputTest, HalfPrecisionKeepsHalfTheBytes) {
  AttributionRequest request = LoadExample("tiny-bert-sdpa").Request();
  request.output = LayerMatrices();
  int64_t cells = 0;
  for (const TokenSequence& sequence : std::get<TokenBatch>(request.input).sequences)
    cells += static_cast<int64_t>(sequence.input_ids.size() * sequence.input_ids.size());
  const int64_t whole = std::get<Admitted>(Run(request).events[0]).estimated_peak_bytes;
  request.output.encoding = MatrixEncoding::kFloat16;
  const int64_t half = std::get<Admitted>(Run(request).events[0]).estimated_peak_bytes;
  EXPECT_EQ(whole - half, 3 * cells * 2) << "three layers are kept while the model runs";
}

// What waits to be sent is in the measured peak.
TEST_F(EngineOutputTest, OutputIsMeasured) {
  const OracleExample example = LoadExample("tiny-bert-sdpa").Pick(std::vector<size_t>(64, 0));
  AttributionRequest request = example.Request();
  const auto peak = [&](const OutputSelection& output) {
    request.output = output;
    const AttributionResult result = engine_->Run(request).result;
    EXPECT_EQ(result.num_chunks, 1);
    return result.measured_peak_bytes;
  };
  constexpr int64_t kLayerBytes = int64_t{64} * 11 * 11 * 4;
  OutputSelection output;
  const int64_t without = peak(output);
  output.layer_matrices = true;
  EXPECT_GE(peak(output) - without, 2 * kLayerBytes);  // what the last layer needs, two are there already
  EXPECT_LE(peak(output) - without, 3 * kLayerBytes);
  output.rows.kind = Kind::kFirstValid;
  EXPECT_LE(peak(output) - without, 3 * kLayerBytes / 11);
}

}  // namespace
}  // namespace attribution::engine
