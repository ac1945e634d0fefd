// Tests what the engine tells of a request, and in which order.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/engine/oracle_example.h"
#include "tests/engine/test_engine.h"

namespace attribution::engine {
namespace {

using testing::ElementsAre;

class EngineEventsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { engine_ = new TestEngine({"tiny-bert-sdpa", "control-flow"}); }
  static void TearDownTestSuite() {
    delete engine_;
    engine_ = nullptr;
  }

  static TestEngine* engine_;
};

TestEngine* EngineEventsTest::engine_ = nullptr;

// Names one event: what it is, of which chunk, layer or sequence.
std::string NameOf(const Event& event) {
  if (std::holds_alternative<Admitted>(event)) return "admitted";
  if (const auto* layer = std::get_if<LayerMetrics>(&event))
    return absl::StrCat("layer ", layer->layer_idx, " of chunk ", layer->chunk_index);
  if (const auto* chunk = std::get_if<ChunkMetrics>(&event))
    return absl::StrCat("chunk ", chunk->chunk_index);
  if (const auto* slice = std::get_if<MatrixSlice>(&event))
    return absl::StrCat("matrix ", slice->sequence_index, " from row ", slice->first_row);
  if (std::holds_alternative<AttributionResult>(event)) return "result";
  return "something else";
}

std::vector<std::string> NamesOf(const std::vector<Event>& events) {
  std::vector<std::string> names;
  for (const Event& event : events) names.push_back(NameOf(event));
  return names;
}

TEST_F(EngineEventsTest, ComeInTheOrderOfTheContract) {
  AttributionRequest request = LoadExample("tiny-bert-sdpa").Request();
  request.options.max_chunk_size = 2;
  const TestEngine::Outcome outcome = engine_->Run(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(NamesOf(outcome.events),
              ElementsAre("admitted",                                                        //
                          "layer 0 of chunk 0", "layer 1 of chunk 0", "layer 2 of chunk 0",  //
                          "chunk 0", "matrix 0 from row 0", "matrix 1 from row 0",           //
                          "layer 0 of chunk 1", "layer 1 of chunk 1", "layer 2 of chunk 1",  //
                          "chunk 1", "matrix 2 from row 0", "result"));
}

TEST_F(EngineEventsTest, HoldOnlyWhatWasAskedFor) {
  AttributionRequest request = LoadExample("tiny-bert-sdpa").Request();
  request.output = {};
  const TestEngine::Outcome outcome = engine_->Run(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(NamesOf(outcome.events), ElementsAre("admitted", "chunk 0", "result"));
  EXPECT_TRUE(outcome.result.layers.empty());
  EXPECT_TRUE(std::get<Admitted>(outcome.events[0]).tokens.empty());
}

TEST_F(EngineEventsTest, StopAfterTheLastLayerThatIsNeeded) {
  AttributionRequest request = LoadExample("tiny-bert-sdpa").Request();
  request.options.layer_idx = 0;
  request.options.end_layer = 1;
  request.output.rollout_matrix = false;
  const TestEngine::Outcome outcome = engine_->Run(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(NamesOf(outcome.events),
              ElementsAre("admitted", "layer 0 of chunk 0", "layer 1 of chunk 0", "chunk 0", "result"));
  EXPECT_EQ(outcome.result.layers.size(), 2);
}

TEST_F(EngineEventsTest, AdmittedSaysWhatWillRun) {
  AttributionRequest request = LoadExample("tiny-bert-sdpa").Request(Preset::kIclrMetrics, 0.2);
  request.options.max_chunk_size = 2;
  request.options.layer_idx = -2;
  const TestEngine::Outcome outcome = engine_->Run(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  const auto& admitted = std::get<Admitted>(outcome.events[0]);
  EXPECT_EQ(admitted.chunk_size, 2);
  EXPECT_EQ(admitted.num_chunks, 2);
  EXPECT_EQ(admitted.num_layers, 3);
  EXPECT_GT(admitted.estimated_peak_bytes, 0);
  EXPECT_EQ(admitted.device, "cpu");
  EXPECT_EQ(admitted.model_version, "1");
  EXPECT_EQ(admitted.model_sha256, (*engine_)->GetModel("tiny-bert-sdpa", "")->sha256);
  EXPECT_EQ(admitted.options.preset, Preset::kIclrMetrics);
  EXPECT_EQ(admitted.options.residual_weight, 0.2);
  EXPECT_EQ(admitted.options.layer_idx, 1);
  EXPECT_EQ(admitted.options.start_layer, 0);
  EXPECT_EQ(admitted.options.end_layer, 2);
  EXPECT_EQ(admitted.options.chunk_policy, ChunkPolicy::kAdaptive);
}

TEST_F(EngineEventsTest, AdmittedHoldsTheTokensOfATextWhenAsked) {
  AttributionRequest request;
  request.model = "tiny-bert-sdpa";
  request.input = TextBatch{{"the cat sat", "hello"}, false};
  request.output.tokens = true;
  const TestEngine::Outcome outcome = engine_->Run(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  const auto& tokens = std::get<Admitted>(outcome.events[0]).tokens;
  ASSERT_EQ(tokens.size(), 2);
  EXPECT_THAT(tokens[0].tokens, ElementsAre("[CLS]", "the", "cat", "sat", "[SEP]"));
  EXPECT_THAT(tokens[1].tokens, ElementsAre("[CLS]", "hello", "[SEP]"));
  EXPECT_EQ(tokens[0].input_ids.size(), 5);
}

TEST_F(EngineEventsTest, TextIsWhatItsTokensAre) {
  AttributionRequest request;
  request.model = "tiny-bert-sdpa";
  request.input = TextBatch{{"the dog ran fast", "we see"}, false};
  request.output.tokens = true;
  const TestEngine::Outcome text = engine_->Run(request);
  ASSERT_TRUE(text.status.ok()) << text.status;
  TokenBatch batch;
  for (const SequenceTokens& tokens : std::get<Admitted>(text.events[0]).tokens)
    batch.sequences.push_back({tokens.input_ids, {}, {}});
  request.input = batch;
  const TestEngine::Outcome tokens = engine_->Run(request);
  ASSERT_TRUE(tokens.status.ok()) << tokens.status;
  ExpectNear(text.result.metrics, tokens.result.metrics, 0);
}

TEST_F(EngineEventsTest, ChunkMetricsAreThoseOfTheirSequences) {
  const OracleExample example = LoadExample("control-flow");
  AttributionRequest request = example.Request();
  request.options.max_chunk_size = 2;
  const TestEngine::Outcome outcome = engine_->Run(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  std::vector<ChunkMetrics> chunks;
  for (const Event& event : outcome.events) {
    if (const auto* chunk = std::get_if<ChunkMetrics>(&event)) chunks.push_back(*chunk);
  }
  ASSERT_EQ(chunks.size(), 2);
  EXPECT_EQ(chunks[1].first_sequence, 2);
  EXPECT_EQ(chunks[1].num_sequences, 1);
  ExpectNear(chunks[0].metrics, example.Pick({0, 1}).Expected().batch, 1e-5);
  ExpectNear(chunks[1].metrics, example.Pick({2}).Expected().batch, 1e-5);
}

TEST_F(EngineEventsTest, LayersOfALoopNameTheirOneSite) {
  const TestEngine::Outcome outcome = engine_->Run(LoadExample("control-flow").Request());
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  ASSERT_EQ(outcome.result.layers.size(), 3);
  for (const LayerMetrics& layer : outcome.result.layers) EXPECT_EQ(layer.site_index, 0);
}

TEST_F(EngineEventsTest, ResultTellsTimesThatAddUp) {
  const TestEngine::Outcome outcome = engine_->Run(LoadExample("tiny-bert-sdpa").Request());
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_GT(outcome.result.forward_seconds, 0);
  EXPECT_GE(outcome.result.queue_seconds, 0);
  EXPECT_GE(outcome.result.total_seconds, outcome.result.forward_seconds + outcome.result.queue_seconds);
  EXPECT_EQ(outcome.result.oom_retries, 0);
}

}  // namespace
}  // namespace attribution::engine
