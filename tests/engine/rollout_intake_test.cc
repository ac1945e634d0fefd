#include "server/engine/rollout_intake.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

#include "attribution/status_details.h"

namespace attribution::engine {
namespace {

RolloutRequest SomeRollout() {
  RolloutRequest request;
  request.header.batch = 2;
  request.header.heads = 3;
  request.header.length = 4;
  request.header.layers = 5;
  request.header.masks = {{1, 1, 1, 0}, {}};
  return request;
}

TEST(RolloutIntakeTest, FillsInOptionsAndSortsRows) {
  RolloutRequest request = SomeRollout();
  request.output.rollout_matrix = true;
  request.output.rows = {RowSelection::Kind::kIndices, {2, 0, 2}};
  const auto prepared = PrepareRollout(request, {});
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_EQ(prepared->options.layer_idx, 4);
  EXPECT_EQ(prepared->options.end_layer, 4);
  EXPECT_EQ(prepared->options.chunk_policy, ChunkPolicy::kAdaptive);
  EXPECT_EQ(prepared->output.rows.indices, (std::vector<int32_t>{0, 2}));
  EXPECT_EQ(prepared->MaskOf(0).size(), 4u);
  EXPECT_TRUE(prepared->MaskOf(1).empty());
}

TEST(RolloutIntakeTest, RefusesAndNamesWhatIsWrong) {
  struct Case {
    const char* field;
    std::function<void(RolloutRequest&)> spoil;
  };
  const Case cases[] = {
      {"header.batch", [](RolloutRequest& r) { r.header.batch = 0; }},
      {"header.batch",
       [](RolloutRequest& r) {
         r.header.batch = 4097;
         r.header.masks.clear();
       }},
      {"header.masks[0]", [](RolloutRequest& r) { r.header.masks[0].pop_back(); }},
      {"options.layer_idx", [](RolloutRequest& r) { r.options.layer_idx = 5; }},
      {"options.head", [](RolloutRequest& r) { r.options.head = 3; }},
      {"options.attention_layer_pattern",
       [](RolloutRequest& r) { r.options.attention_layer_pattern = "encoder"; }},
      {"options.max_chunk_size", [](RolloutRequest& r) { r.options.max_chunk_size = 1; }},
      {"output.tokens", [](RolloutRequest& r) { r.output.tokens = true; }},
      {"output.top_k", [](RolloutRequest& r) { r.output.top_k = -1; }},
      {"output.rows", [](RolloutRequest& r) { r.output.rows.kind = RowSelection::Kind::kFirstValid; }},
      {"output.rows.indices[0]",
       [](RolloutRequest& r) {
         r.output.rollout_matrix = true;
         r.output.rows = {RowSelection::Kind::kIndices, {3}};  // masked in sequence 0
       }},
  };
  for (const Case& spoiled : cases) {
    RolloutRequest request = SomeRollout();
    spoiled.spoil(request);
    const absl::Status status = PrepareRollout(request, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << spoiled.field;
    EXPECT_EQ(FieldOf(status), spoiled.field);
  }
}

TEST(RolloutIntakeTest, LayersAreNotSentBackYet) {
  RolloutRequest request = SomeRollout();
  request.output.layer_matrices = true;
  const absl::Status status = PrepareRollout(request, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(FieldOf(status), "output.layer_matrices");
}

TEST(RolloutIntakeTest, KeepsToTheServersLongestSequence) {
  RequestLimits limits;
  limits.max_sequence_length = 3;
  EXPECT_EQ(FieldOf(PrepareRollout(SomeRollout(), limits).status()), "header.seq_length");
}

TEST(RolloutIntakeTest, PredictsWhatIsHeld) {
  RolloutRequest request;
  request.header.batch = 3;
  request.header.length = 1000;
  request.header.layers = 2;
  const int64_t matrix = 4000000;
  const int64_t bytes = PredictRolloutBytes(*PrepareRollout(request, {}));
  EXPECT_GE(bytes, 5 * matrix);  // R of three sequences, the spare, the fused matrix
  EXPECT_LE(bytes, 5 * matrix + (8 << 20));
  request.output.rollout_matrix = true;
  // Messages of three rollouts, when the fused matrix and the pieces have gone.
  const int64_t whole = PredictRolloutBytes(*PrepareRollout(request, {}));
  EXPECT_GE(whole, 7 * matrix);
  EXPECT_LE(whole, bytes + 3 * matrix);
  request.output.encoding = MatrixEncoding::kFloat16;
  const int64_t half = PredictRolloutBytes(*PrepareRollout(request, {}));
  EXPECT_GE(half, 4 * matrix + 3 * matrix / 2);
  EXPECT_LE(half, bytes + 3 * matrix / 2);
}

TEST(RolloutIntakeTest, PredictionsOfAnythingSaturate) {
  RolloutRequest request;
  request.header.length = 1000000000;
  request.header.layers = std::numeric_limits<int32_t>::max();
  request.output.rollout_matrix = true;
  const auto prepared = PrepareRollout(request, {});
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_EQ(PredictRolloutBytes(*prepared), std::numeric_limits<int64_t>::max());
}

TEST(RolloutIntakeTest, TheLongestThatFitsFitsAndOneMoreDoesNot) {
  RolloutRequest request;
  request.header.length = 5000;
  request.header.layers = 2;
  PreparedRollout rollout = *PrepareRollout(request, {});
  const int64_t budget = 20 << 20;
  const int64_t longest = LongestRolloutThatFits(rollout, budget);
  rollout.header.length = longest;
  EXPECT_LE(PredictRolloutBytes(rollout), budget);
  rollout.header.length = longest + 1;
  EXPECT_GT(PredictRolloutBytes(rollout), budget);
  EXPECT_EQ(LongestRolloutThatFits(rollout, 1000), 0);
}

}  // namespace
}  // namespace attribution::engine
