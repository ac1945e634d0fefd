// Tests that the engine gives the numbers of the naive oracle, whatever the model, the cut and the company.
#include <gtest/gtest.h>

#include <cmath>
#include <latch>
#include <memory>
#include <tuple>

#include "tests/engine/oracle_example.h"
#include "tests/engine/test_engine.h"

namespace attribution::engine {
namespace {

constexpr double kTolerance = 1e-5;

class EngineNumbersTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine_ = new TestEngine({"tiny-bert-sdpa", "tiny-bert-eager", "tiny-gpt2-sdpa", "bare-two-inputs",
                              "bare-eager", "bare-gated", "control-flow", "ids-only"});
  }
  static void TearDownTestSuite() {
    delete engine_;
    engine_ = nullptr;
  }

  // Expects what the engine says of `example` to be what the oracle says.
  static void ExpectRight(const OracleExample& example, Preset preset, double residual_weight) {
    const TestEngine::Outcome outcome = engine_->Run(example.Request(preset, residual_weight));
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    ExpectAsOracle(outcome.events, example, preset, residual_weight, kTolerance);
  }

  static TestEngine* engine_;
};

TestEngine* EngineNumbersTest::engine_ = nullptr;

class EveryModelTest : public EngineNumbersTest,
                       public testing::WithParamInterface<std::tuple<const char*, Preset, double>> {};

TEST_P(EveryModelTest, RaggedBatchEqualsTheOracle) {
  const auto [model, preset, residual_weight] = GetParam();
  ExpectRight(LoadExample(model), preset, residual_weight);
}

INSTANTIATE_TEST_SUITE_P(Models, EveryModelTest,
                         testing::Combine(testing::Values("tiny-bert-sdpa", "tiny-bert-eager",
                                                          "tiny-gpt2-sdpa", "bare-two-inputs", "bare-eager",
                                                          "control-flow"),
                                          testing::Values(Preset::kAbnar2020, Preset::kIclrMetrics),
                                          testing::Values(0.5, 0.2)));

TEST_F(EngineNumbersTest, PaddingOfTheCallerEqualsTheOracle) {
  const OracleExample padded = LoadExample("tiny-bert-sdpa", /*ragged=*/false);
  ASSERT_EQ(padded.lengths[1], 11);
  ExpectRight(padded, Preset::kAbnar2020, 0.5);
}

TEST_F(EngineNumbersTest, ModelWithoutMaskEqualsTheOracle) {
  ExpectRight(LoadExample("ids-only"), Preset::kIclrMetrics, 0.2);
}

TEST_F(EngineNumbersTest, ModelWithoutMaskNeverPads) {
  // The same sequence beside a longer one: its answer may not change.
  OracleExample example = LoadExample("ids-only");
  AttributionRequest request = example.Request();
  TokenSequence shorter = example.sequences[1];
  shorter.input_ids.resize(6);
  shorter.attention_mask.clear();
  std::get<TokenBatch>(request.input).sequences = {example.sequences[0], shorter, example.sequences[2]};
  const TestEngine::Outcome together = engine_->Run(request);
  std::get<TokenBatch>(request.input).sequences = {shorter};
  const TestEngine::Outcome alone = engine_->Run(request);
  ASSERT_TRUE(together.status.ok() && alone.status.ok()) << together.status << alone.status;
  EXPECT_EQ(together.result.num_chunks, 3);
  ExpectNear(together.result.sequences[1], alone.result.sequences[0], 1e-6);
}

TEST_F(EngineNumbersTest, LayersOfThePatternAloneAreRolledOut) {
  const OracleExample example = LoadExample("tiny-bert-sdpa");
  OracleExample last = example;
  last.layers.erase(last.layers.begin());
  AttributionRequest request = example.Request();
  request.options.attention_layer_pattern = "layer\\.[12]\\.";
  const TestEngine::Outcome outcome = engine_->Run(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  ExpectAsOracle(outcome.events, last, Preset::kAbnar2020, 0.5, kTolerance);
}

TEST_F(EngineNumbersTest, EarlierLayersAloneAreRolledOut) {
  const OracleExample example = LoadExample("tiny-bert-eager");
  OracleExample first = example;
  first.layers.pop_back();
  AttributionRequest request = example.Request();
  request.options.layer_idx = 1;
  request.options.end_layer = 1;
  const TestEngine::Outcome outcome = engine_->Run(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  ExpectAsOracle(outcome.events, first, Preset::kAbnar2020, 0.5, kTolerance);
}

TEST_F(EngineNumbersTest, RolloutMetricsAreAbsentWhenSkipped) {
  AttributionRequest request = LoadExample("bare-eager").Request();
  request.output.skip_rollout_metrics = true;
  const TestEngine::Outcome outcome = engine_->Run(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_FALSE(outcome.result.metrics.rollout_max.has_value());
  EXPECT_FALSE(outcome.result.sequences[0].rollout_entropy.has_value());
  EXPECT_TRUE(outcome.result.metrics.attention_entropy.has_value());
}

// Metrics of `got` and `want` agree to 1e-6 of their size.
void ExpectSame(const Metrics& got, const Metrics& want) {
  EXPECT_NEAR(*got.mean_attention, *want.mean_attention, 1e-6 * *want.mean_attention);
  EXPECT_NEAR(*got.max_attention, *want.max_attention, 1e-6 * *want.max_attention);
  EXPECT_NEAR(*got.attention_entropy, *want.attention_entropy, 1e-6 * *want.attention_entropy);
  EXPECT_NEAR(*got.attention_concentration, *want.attention_concentration,
              1e-6 * *want.attention_concentration);
  EXPECT_NEAR(*got.rollout_max, *want.rollout_max, 1e-6 * *want.rollout_max);
  EXPECT_NEAR(*got.rollout_entropy, *want.rollout_entropy, 1e-6 * *want.rollout_entropy);
  EXPECT_EQ(got.batch_size, want.batch_size);
  EXPECT_EQ(got.seq_length, want.seq_length);
}

TEST_F(EngineNumbersTest, ChunkSizeDoesNotShow) {
  const OracleExample example = LoadExample("tiny-bert-sdpa").Pick({1, 0, 2, 2, 1, 0, 1, 1, 2});
  AttributionRequest request = example.Request(Preset::kIclrMetrics, 0.2);
  const TestEngine::Outcome whole = engine_->Run(request);
  ASSERT_TRUE(whole.status.ok()) << whole.status;
  ASSERT_EQ(whole.result.num_chunks, 1);
  for (const auto& [chunk_size, chunks] : {std::pair(1, 9), std::pair(3, 3), std::pair(7, 2)}) {
    SCOPED_TRACE(testing::Message() << "chunks of " << chunk_size);
    request.options.max_chunk_size = chunk_size;
    const TestEngine::Outcome outcome = engine_->Run(request);
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(outcome.result.num_chunks, chunks);
    ExpectSame(outcome.result.metrics, whole.result.metrics);
    for (size_t b = 0; b < 9; ++b) ExpectSame(outcome.result.sequences[b], whole.result.sequences[b]);
    for (size_t l = 0; l < 3; ++l) {
      const LayerMetrics& layer = outcome.result.layers[l];
      ExpectNear(layer, whole.result.layers[l], 1e-6 * whole.result.layers[l].attention_entropy);
      EXPECT_EQ(layer.chunk_index, -1);
    }
    ExpectAsOracle(outcome.events, example, Preset::kIclrMetrics, 0.2, kTolerance);
  }
}

TEST_F(EngineNumbersTest, TwoRequestsInOneModelAtOnceAreRight) {
  const OracleExample example = LoadExample("tiny-bert-sdpa");
  const OracleExample examples[] = {example.Pick({0, 1}), example.Pick({2, 0, 1})};
  const Preset presets[] = {Preset::kAbnar2020, Preset::kIclrMetrics};
  std::latch inside[] = {std::latch(1), std::latch(1)};
  StartedCall calls[2];
  for (int i = 0; i < 2; ++i) {
    // Each stops in its first layer until the other one is there: both are inside the model at once.
    const auto sink = std::make_shared<RecordingSink>();
    sink->event_hook = [&inside, i](const Event& event) {
      const auto* layer = std::get_if<LayerMetrics>(&event);
      if (layer == nullptr || layer->layer_idx != 0) return;
      inside[i].count_down();
      inside[1 - i].wait();
    };
    calls[i] = engine_->Start(examples[i].Request(presets[i], 0.2), sink);
  }
  for (int i = 0; i < 2; ++i) {
    SCOPED_TRACE(testing::Message() << "request " << i);
    ASSERT_TRUE(calls[i].sink->Wait().ok()) << calls[i].sink->Wait();
    ExpectAsOracle(calls[i].sink->events(), examples[i], presets[i], 0.2, kTolerance);
  }
}

TEST_F(EngineNumbersTest, ManyRequestsInManyModelsAreRight) {
  std::vector<OracleExample> examples;
  std::vector<StartedCall> calls;
  for (int i = 0; i < 4; ++i) {
    for (const char* model : {"tiny-bert-sdpa", "tiny-bert-eager", "control-flow"}) {
      examples.push_back(LoadExample(model).Pick({static_cast<size_t>(i % 3), 2}));
      AttributionRequest request = examples.back().Request();
      request.options.max_chunk_size = 1;
      calls.push_back(engine_->Start(std::move(request)));
    }
  }
  for (size_t i = 0; i < calls.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "request " << i << " to " << examples[i].model);
    ASSERT_TRUE(calls[i].sink->Wait().ok()) << calls[i].sink->Wait();
    ExpectAsOracle(calls[i].sink->events(), examples[i], Preset::kAbnar2020, 0.5, kTolerance);
  }
}

TEST_F(EngineNumbersTest, MeasuredPeakStaysJustBelowTheEstimate) {
  for (const char* model :
       {"tiny-bert-sdpa", "tiny-bert-eager", "tiny-gpt2-sdpa", "bare-eager", "bare-gated"}) {
    for (const int32_t chunk_size : {1, 0}) {
      SCOPED_TRACE(testing::Message() << model << ", chunk size " << chunk_size);
      AttributionRequest request = LoadExample(model).Pick({0, 1, 2, 0, 1, 2}).Request();
      request.options.max_chunk_size = chunk_size;
      engine_->Run(request);  // what it takes is learned
      const TestEngine::Outcome outcome = engine_->Run(request);
      ASSERT_TRUE(outcome.status.ok()) << outcome.status;
      const auto& admitted = std::get<Admitted>(outcome.events.front());
      EXPECT_GT(outcome.result.measured_attention_bytes, 0);
      EXPECT_LE(outcome.result.measured_attention_bytes, outcome.result.measured_peak_bytes);
      EXPECT_LE(outcome.result.measured_peak_bytes, admitted.estimated_peak_bytes);
      EXPECT_GT(static_cast<double>(outcome.result.measured_peak_bytes),
                0.8 * static_cast<double>(admitted.estimated_peak_bytes));
    }
  }
}

}  // namespace
}  // namespace attribution::engine
