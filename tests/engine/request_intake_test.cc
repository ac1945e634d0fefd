#include "server/engine/request_intake.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attribution/status_details.h"
#include "tests/models/fake_runner.h"

namespace attribution::engine {
namespace {

using testing::HasSubstr;

// Three layers, four heads, 100 ids, 64 positions, a mask, no token types, no tokenizer.
std::shared_ptr<const models::ResidentModel> Model() {
  auto model = std::make_shared<models::ResidentModel>();
  model->name = "small";
  model->runner = std::make_unique<models::FakeRunner>(models::ThreeLayers());
  return model;
}

AttributionRequest Request(size_t sequences = 2) {
  AttributionRequest request;
  request.model = "small";
  request.input = TokenBatch{std::vector<TokenSequence>(sequences, TokenSequence{{1, 2, 3}, {}, {}})};
  return request;
}

absl::Status ErrorOf(AttributionRequest request, const RequestLimits& limits = {}) {
  return PrepareRequest(std::move(request), limits, Model()).status();
}

void ExpectInvalid(const absl::Status& status, const std::string& field, const std::string& sentence) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(FieldOf(status), field);
  EXPECT_THAT(std::string(status.message()), HasSubstr(sentence));
}

TEST(RequestIntakeTest, FillsInEveryDefault) {
  const auto prepared = PrepareRequest(Request(), {}, Model());
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_EQ(prepared->sequences.size(), 2);
  EXPECT_EQ(prepared->sequences[1].input_ids, (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(prepared->layers.size(), 3);
  EXPECT_EQ(prepared->options.layer_idx, 2);
  EXPECT_EQ(prepared->options.end_layer, 2);
  EXPECT_EQ(prepared->options.chunk_policy, ChunkPolicy::kAdaptive);
}

TEST(RequestIntakeTest, ServersChunkPolicyStandsInForNone) {
  RequestLimits limits;
  limits.default_chunk_policy = ChunkPolicy::kReference;
  EXPECT_EQ(PrepareRequest(Request(), limits, Model())->options.chunk_policy, ChunkPolicy::kReference);
  AttributionRequest request = Request();
  request.options.chunk_policy = ChunkPolicy::kAdaptive;
  EXPECT_EQ(PrepareRequest(request, limits, Model())->options.chunk_policy, ChunkPolicy::kAdaptive);
}

TEST(RequestIntakeTest, RequestWithoutInput) {
  AttributionRequest request = Request();
  request.input = std::monostate();
  ExpectInvalid(ErrorOf(request), "input", "The request has no input.");
}

TEST(RequestIntakeTest, EmptyBatch) {
  ExpectInvalid(ErrorOf(Request(0)), "tokens.sequences", "The batch is empty.");
  AttributionRequest request = Request();
  request.input = TextBatch{};
  ExpectInvalid(ErrorOf(request), "text.texts", "The batch is empty.");
}

TEST(RequestIntakeTest, BatchLargerThanTheServerTakes) {
  RequestLimits limits;
  limits.max_sequences = 2;
  EXPECT_EQ(ErrorOf(Request(2), limits), absl::OkStatus());
  ExpectInvalid(ErrorOf(Request(3), limits), "tokens.sequences", "It has 3 sequences; at most 2 are taken.");
}

TEST(RequestIntakeTest, ServersLengthLimitCountsWhereItIsTheSmaller) {
  AttributionRequest request = Request();
  std::get<TokenBatch>(request.input).sequences[1].input_ids.assign(65, 1);
  RequestLimits limits;
  ExpectInvalid(ErrorOf(request, limits), "tokens.sequences[1].input_ids", "at most 64 fit");
  limits.max_sequence_length = 1000;
  ExpectInvalid(ErrorOf(request, limits), "tokens.sequences[1].input_ids", "at most 64 fit");
  limits.max_sequence_length = 10;
  ExpectInvalid(ErrorOf(request, limits), "tokens.sequences[1].input_ids", "at most 10 fit");
}

TEST(RequestIntakeTest, SequencesAreCheckedAgainstTheModel) {
  AttributionRequest request = Request();
  std::get<TokenBatch>(request.input).sequences[1].input_ids[2] = 100;
  ExpectInvalid(ErrorOf(request), "tokens.sequences[1].input_ids[2]", "in [0, 100)");
  request = Request();
  std::get<TokenBatch>(request.input).sequences[0].token_type_ids = {0, 0, 0};
  ExpectInvalid(ErrorOf(request), "tokens.sequences[0].token_type_ids", "takes no token type ids");
}

TEST(RequestIntakeTest, TextNeedsATokenizer) {
  AttributionRequest request = Request();
  request.input = TextBatch{{"hello"}, false};
  const absl::Status status = ErrorOf(request);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), "NO_TOKENIZER");
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"small\" takes token ids only"));
}

TEST(RequestIntakeTest, OptionsAreCheckedAgainstTheModel) {
  AttributionRequest request = Request();
  request.options.layer_idx = 3;
  EXPECT_EQ(FieldOf(ErrorOf(request)), "options.layer_idx");
  request = Request();
  request.options.head = 4;
  EXPECT_EQ(FieldOf(ErrorOf(request)), "options.head");
}

TEST(RequestIntakeTest, PatternOfNothing) {
  AttributionRequest request = Request();
  request.options.attention_layer_pattern = "decoder";
  EXPECT_EQ(ReasonOf(ErrorOf(request)), "NO_ATTENTION_CAPTURED");
}

TEST(RequestIntakeTest, NegativeTopK) {
  AttributionRequest request = Request();
  request.output.top_k = -1;
  ExpectInvalid(ErrorOf(request), "output.top_k", "It is -1");
}

// Asks for the rollout's rows `indices`.
AttributionRequest WithRows(std::vector<int32_t> indices) {
  AttributionRequest request = Request();
  request.output.rollout_matrix = true;
  request.output.rows = {RowSelection::Kind::kIndices, std::move(indices)};
  return request;
}

TEST(RequestIntakeTest, RowIndicesAreSortedAndTakenOnce) {
  const auto prepared = PrepareRequest(WithRows({2, 0, 2, 2, 0}), {}, Model());
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_EQ(prepared->output.rows.indices, (std::vector<int32_t>{0, 2}));
}

TEST(RequestIntakeTest, RowIndexOutsideTheShortestSequence) {
  AttributionRequest request = WithRows({0, 2});
  std::get<TokenBatch>(request.input).sequences[1].input_ids.pop_back();
  ExpectInvalid(ErrorOf(request), "output.rows.indices[1]", "It is 2, and sequence 1 has 2 positions.");
  ExpectInvalid(ErrorOf(WithRows({1, 0, -1})), "output.rows.indices[2]", "It is -1,");
  ExpectInvalid(ErrorOf(WithRows({3})), "output.rows.indices[0]", "Choose one in [0, 3).");
}

TEST(RequestIntakeTest, RowIndexAtAMaskedPosition) {
  AttributionRequest request = WithRows({2, 2, 0});
  std::get<TokenBatch>(request.input).sequences[1].attention_mask = {0, 1, 1};
  ExpectInvalid(ErrorOf(request), "output.rows.indices[2]", "Position 0 of sequence 1 is masked.");
  request.output.rows.indices = {2, 1};
  EXPECT_EQ(ErrorOf(request), absl::OkStatus());
}

TEST(RequestIntakeTest, PaddingThatIsIncludedIsNoValidRow) {
  AttributionRequest request = WithRows({3});
  request.options.include_padding = true;
  std::get<TokenBatch>(request.input).sequences[1].input_ids = {1, 2, 3, 4};
  ExpectInvalid(ErrorOf(request), "output.rows.indices[0]", "Position 3 of sequence 0 is masked.");
}

TEST(RequestIntakeTest, RowsWithoutIndicesAndIndicesWithoutRows) {
  ExpectInvalid(ErrorOf(WithRows({})), "output.rows.indices", "No row is chosen.");
  AttributionRequest request = WithRows({0});
  request.output.rows.kind = RowSelection::Kind::kAll;
  ExpectInvalid(ErrorOf(request), "output.rows.indices", "Set rows.kind to KIND_INDICES.");
}

TEST(RequestIntakeTest, RowsNeedAMatrix) {
  AttributionRequest request = Request();
  request.output.top_k = 3;
  for (const auto kind : {RowSelection::Kind::kFirstValid, RowSelection::Kind::kLastValid}) {
    request.output.rows.kind = kind;
    request.output.layer_matrices = false;
    ExpectInvalid(ErrorOf(request), "output.rows", "no matrix is sent");
    request.output.layer_matrices = true;
    EXPECT_EQ(ErrorOf(request), absl::OkStatus());
  }
}

TEST(RequestIntakeTest, LayerMatricesNeedTheHeadInEveryLayer) {
  capture::ModelDescription description = models::ThreeLayers();
  description.sites.push_back({1, "layer.1", SiteKind::kBlocked, "", 1});
  description.execution_order = {0, 1};
  description.site_heads = {4, 2};
  auto model = std::make_shared<models::ResidentModel>();
  model->runner = std::make_unique<models::FakeRunner>(description);
  AttributionRequest request = Request();
  request.options.head = 3;
  request.options.layer_idx = 0;
  request.options.end_layer = 0;
  EXPECT_EQ(PrepareRequest(request, {}, model).status(), absl::OkStatus());
  request.output.layer_matrices = true;
  ExpectInvalid(PrepareRequest(request, {}, model).status(), "options.head", "layer 1 has 2 heads");
}

TEST(RequestIntakeTest, PresetsSetTheirParameters) {
  AttributionRequest request = Request();
  request.options.preset = Preset::kChefer2021;
  EXPECT_EQ(PrepareRequest(request, {}, Model())->options.start_layer, 1);
  request.options.preset = Preset::kVitExplain;
  EXPECT_EQ(PrepareRequest(request, {}, Model())->options.discard_ratio, 0.9);
}

// Three sequences: one as it is, one with a mask of its own, the longest.
AttributionRequest RaggedRequest() {
  AttributionRequest request = Request();
  request.options.include_padding = true;
  request.input = TokenBatch{{{{1, 2}, {}, {0, 1}}, {{3, 4, 5}, {0, 1, 1}, {}}, {{6, 7, 8, 9}, {}, {}}}};
  return request;
}

TEST(RequestIntakeTest, IncludePaddingPadsEverySequenceToTheLongest) {
  capture::ModelDescription description = models::ThreeLayers();
  description.inputs.push_back({"types", capture::InputRole::kTokenTypeIds});
  auto model = std::make_shared<models::ResidentModel>();
  model->runner = std::make_unique<models::FakeRunner>(description);
  model->manifest.pad_token_id = 50;
  const auto prepared = PrepareRequest(RaggedRequest(), {}, model);
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  const std::vector<TokenSequence>& padded = prepared->sequences;
  EXPECT_EQ(padded[0].input_ids, (std::vector<int64_t>{1, 2, 50, 50}));
  EXPECT_EQ(padded[0].attention_mask, (std::vector<int32_t>{1, 1, 0, 0}));
  EXPECT_EQ(padded[0].token_type_ids, (std::vector<int64_t>{0, 1, 0, 0}));
  EXPECT_EQ(padded[1].input_ids, (std::vector<int64_t>{3, 4, 5, 50}));
  EXPECT_EQ(padded[1].attention_mask, (std::vector<int32_t>{0, 1, 1, 0}));
  EXPECT_TRUE(padded[1].token_type_ids.empty());
  EXPECT_EQ(padded[2].input_ids, (std::vector<int64_t>{6, 7, 8, 9}));
  EXPECT_TRUE(padded[2].attention_mask.empty());
}

TEST(RequestIntakeTest, WithoutAPadTokenZeroStandsInAndWithoutIncludePaddingNothingIsPadded) {
  AttributionRequest request = RaggedRequest();
  std::get<TokenBatch>(request.input).sequences[0].token_type_ids.clear();
  EXPECT_EQ(PrepareRequest(request, {}, Model())->sequences[0].input_ids, (std::vector<int64_t>{1, 2, 0, 0}));
  request.options.include_padding = false;
  EXPECT_EQ(PrepareRequest(request, {}, Model())->sequences[0].input_ids, (std::vector<int64_t>{1, 2}));
}

TEST(RequestIntakeTest, ModelWithoutAMaskCannotIncludePadding) {
  capture::ModelDescription description = models::ThreeLayers();
  description.inputs.pop_back();
  auto model = std::make_shared<models::ResidentModel>();
  model->runner = std::make_unique<models::FakeRunner>(description);
  AttributionRequest request = Request();
  request.options.include_padding = true;
  EXPECT_EQ(PrepareRequest(request, {}, model).status(), absl::OkStatus());
  std::get<TokenBatch>(request.input).sequences[1].input_ids.pop_back();
  ExpectInvalid(PrepareRequest(request, {}, model).status(), "options.include_padding",
                "sequence 1 has 2 tokens and the longest 3.");
}

}  // namespace
}  // namespace attribution::engine
