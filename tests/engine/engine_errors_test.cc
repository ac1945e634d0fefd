// Tests that what goes wrong in a request is told, given back, and does not reach the next request.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "attribution/status_details.h"
#include "tests/engine/oracle_example.h"
#include "tests/engine/test_engine.h"

namespace attribution::engine {
namespace {

using testing::HasSubstr;

// The id at which `nan-model` gives NaN and `throws` throws; see tests/fixtures/tiny_modules.py.
constexpr int64_t kPoison = 997;

class EngineErrorsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine_ = new TestEngine({"nan-model", "throws", "no-attention", "broken", "bare-two-inputs"});
  }
  static void TearDownTestSuite() {
    delete engine_;
    engine_ = nullptr;
  }

  // Returns the error of `request`. Expects that nothing stays reserved, and that the engine then answers as
  // before.
  static absl::Status ErrorOf(const AttributionRequest& request) {
    const TestEngine::Outcome outcome = engine_->Run(request);
    const OracleExample example = LoadExample("bare-two-inputs");
    const TestEngine::Outcome next = engine_->Run(example.Request());
    EXPECT_TRUE(next.status.ok()) << next.status;
    ExpectAsOracle(next.events, example, Preset::kAbnar2020, 0.5, 1e-5);
    return outcome.status;
  }

  static AttributionRequest RequestFor(const std::string& model) {
    AttributionRequest request;
    request.model = model;
    request.input = TokenBatch{{TokenSequence{{5, 6, 7, 8}, {}, {}}}};
    return request;
  }

  static AttributionRequest PoisonedRequest(const std::string& model) {
    AttributionRequest request = LoadExample(model).Request();
    std::get<TokenBatch>(request.input).sequences[0].input_ids[2] = kPoison;
    return request;
  }

  static TestEngine* engine_;
};

TestEngine* EngineErrorsTest::engine_ = nullptr;

TEST_F(EngineErrorsTest, NanOfTheModelNamesTheLayer) {
  const absl::Status status = ErrorOf(PoisonedRequest("nan-model"));
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(ReasonOf(status), "NON_FINITE_ATTENTION");
  EXPECT_THAT(std::string(status.message()), HasSubstr("Layer 0,"));
}

TEST_F(EngineErrorsTest, NanOfAnotherChunkDoesNotLast) {
  AttributionRequest request = PoisonedRequest("nan-model");
  request.options.max_chunk_size = 1;
  EXPECT_EQ(ReasonOf(ErrorOf(request)), "NON_FINITE_ATTENTION");
  const OracleExample clean = LoadExample("nan-model");
  const TestEngine::Outcome outcome = engine_->Run(clean.Request());
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  ExpectAsOracle(outcome.events, clean, Preset::kAbnar2020, 0.5, 1e-5);
}

TEST_F(EngineErrorsTest, ThrowOfTheModelIsOneLine) {
  const absl::Status status = ErrorOf(PoisonedRequest("throws"));
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the model refuses this token"));
  EXPECT_EQ(status.message().find('\n'), absl::string_view::npos);
}

TEST_F(EngineErrorsTest, ModelWithoutAttentionSaysSo) {
  const absl::Status status = ErrorOf(RequestFor("no-attention"));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), "NO_ATTENTION_CAPTURED");
  EXPECT_THAT(std::string(status.message()), HasSubstr("No attention weights captured"));
}

TEST_F(EngineErrorsTest, PatternOfNothingSaysSo) {
  AttributionRequest request = RequestFor("bare-two-inputs");
  request.options.attention_layer_pattern = "decoder";
  const absl::Status status = ErrorOf(request);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("none matched \"decoder\""));
}

TEST_F(EngineErrorsTest, BrokenBundleTellsItsLoadError) {
  const absl::Status status = ErrorOf(RequestFor("broken"));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), "MODEL_LOAD_FAILED");
}

TEST_F(EngineErrorsTest, UnknownModelIsNotFound) {
  EXPECT_EQ(ErrorOf(RequestFor("bare-two-input")).code(), absl::StatusCode::kNotFound);
}

TEST_F(EngineErrorsTest, IdOutOfTheVocabularyNamesItsField) {
  AttributionRequest request = RequestFor("bare-two-inputs");
  std::get<TokenBatch>(request.input).sequences[0].input_ids[3] = 1000;
  const absl::Status status = ErrorOf(request);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(status), "tokens.sequences[0].input_ids[3]");
}

TEST_F(EngineErrorsTest, TextWithoutTokenizerSaysSo) {
  AttributionRequest request = RequestFor("bare-two-inputs");
  request.input = TextBatch{{"hello"}, false};
  const absl::Status status = ErrorOf(request);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), "NO_TOKENIZER");
}

TEST(EngineBudgetTest, SequenceThatNeverFitsSaysHowLongOneMayBe) {
  EngineOptions options = SmallOptions();
  options.memory_budget_bytes = 16;
  TestEngine engine({"bare-two-inputs"}, options);
  const TestEngine::Outcome outcome = engine.Run(LoadExample("bare-two-inputs").Request());
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(outcome.status), "NEVER_FITS");
  EXPECT_EQ(MetadataOf(outcome.status).at("budget_bytes"), "16");
  EXPECT_TRUE(outcome.events.empty());
}

}  // namespace
}  // namespace attribution::engine
