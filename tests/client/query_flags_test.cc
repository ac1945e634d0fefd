#include "client/cli/query_flags.h"

#include <gtest/gtest.h>

#include <sstream>

#include "client/cli/errors.h"

namespace attribution::cli {
namespace {

// The request of flags, with `input` as standard input.
absl::StatusOr<AttributionRequest> Request(const QueryFlags& flags, const std::string& input = "") {
  std::istringstream stream(input);
  return MakeRequest(flags, stream);
}

QueryFlags WithText() {
  QueryFlags flags;
  flags.texts = {"a"};
  return flags;
}

TEST(QueryFlagsTest, ReadsPresetsInEverySpelling) {
  EXPECT_EQ(*ReadPreset("abnar"), Preset::kAbnar2020);
  EXPECT_EQ(*ReadPreset("ABNAR_2020"), Preset::kAbnar2020);
  EXPECT_EQ(*ReadPreset("PRESET_ICLR_METRICS"), Preset::kIclrMetrics);
  EXPECT_EQ(*ReadPreset("Vit-Explain"), Preset::kVitExplain);
  EXPECT_EQ(*ReadPreset("vit_explain_fixed"), Preset::kVitExplainFixed);
  EXPECT_EQ(ExitCodeOf(ReadPreset("rolout").status()), kExitUsage);
}

TEST(QueryFlagsTest, ReadsRows) {
  EXPECT_EQ(ReadRows("all")->kind, RowSelection::Kind::kAll);
  EXPECT_EQ(ReadRows("first")->kind, RowSelection::Kind::kFirstValid);
  EXPECT_EQ(ReadRows("last")->kind, RowSelection::Kind::kLastValid);
  EXPECT_EQ(ReadRows("0,4")->indices, (std::vector<int32_t>{0, 4}));
  EXPECT_EQ(ExitCodeOf(ReadRows("0,x").status()), kExitUsage);
  EXPECT_EQ(ExitCodeOf(ReadRows("").status()), kExitUsage);
}

TEST(QueryFlagsTest, ReadsIdsSeparatedByCommasOrSpaces) {
  QueryFlags flags;
  flags.ids = {"101, 2023,102", "7 8"};
  const auto request = Request(flags);
  ASSERT_TRUE(request.ok());
  const TokenBatch& batch = std::get<TokenBatch>(request->input);
  ASSERT_EQ(batch.sequences.size(), 2u);
  EXPECT_EQ(batch.sequences[0].input_ids, (std::vector<int64_t>{101, 2023, 102}));
  EXPECT_EQ(batch.sequences[1].input_ids, (std::vector<int64_t>{7, 8}));
}

TEST(QueryFlagsTest, RefusesWordsAsIds) {
  QueryFlags flags;
  flags.ids = {"101,cat"};
  EXPECT_EQ(ExitCodeOf(Request(flags).status()), kExitUsage);
}

TEST(QueryFlagsTest, RefusesWhatIsNoTensor) {
  QueryFlags flags;
  for (const char* tensor : {"pixel_values", "=x.npy", "pixel_values=", "x=not-there.npy"}) {
    flags.tensors = {tensor};
    EXPECT_EQ(ExitCodeOf(Request(flags).status()), kExitUsage) << tensor;
  }
}

TEST(QueryFlagsTest, ReadsALineATextFromStandardInput) {
  const auto request = Request(QueryFlags(), "one\r\n\n two \n");
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(std::get<TextBatch>(request->input).texts, (std::vector<std::string>{"one", "two"}));
}

TEST(QueryFlagsTest, RefusesNoInput) {
  EXPECT_EQ(ExitCodeOf(Request(QueryFlags(), "\n").status()), kExitUsage);
}

TEST(QueryFlagsTest, RefusesTwoInputs) {
  QueryFlags flags = WithText();
  flags.ids = {"1"};
  EXPECT_EQ(ExitCodeOf(Request(flags).status()), kExitUsage);
}

TEST(QueryFlagsTest, RefusesAFileThatIsNotThere) {
  QueryFlags flags;
  flags.file = "/nonexistent/texts";
  EXPECT_EQ(ExitCodeOf(Request(flags).status()), kExitUsage);
}

TEST(QueryFlagsTest, SplitsModelAndVersion) {
  QueryFlags flags = WithText();
  flags.model = "minilm:3";
  EXPECT_EQ(Request(flags)->model, "minilm");
  EXPECT_EQ(Request(flags)->model_version, "3");
}

TEST(QueryFlagsTest, AsksForTheMatrixWhenAFileNeedsIt) {
  QueryFlags flags = WithText();
  flags.result.no_matrix = true;
  EXPECT_FALSE(Request(flags)->output.rollout_matrix);
  flags.result.npy = "out.npy";
  EXPECT_TRUE(Request(flags)->output.rollout_matrix);
}

TEST(QueryFlagsTest, AsksForRowsAndTopCells) {
  QueryFlags flags = WithText();
  flags.result.rows = "4,0";
  flags.result.top_k = 7;
  EXPECT_EQ(Request(flags)->output.rows.kind, RowSelection::Kind::kIndices);
  EXPECT_EQ(Request(flags)->output.rows.indices, (std::vector<int32_t>{4, 0}));
  EXPECT_EQ(Request(flags)->output.top_k, 7);
}

TEST(QueryFlagsTest, SkipsTheMetricsOfTheRolloutOnlyIfAsked) {
  QueryFlags flags = WithText();
  EXPECT_FALSE(Request(flags)->output.skip_rollout_metrics);
  flags.result.skip_rollout_metrics = true;
  EXPECT_TRUE(Request(flags)->output.skip_rollout_metrics);
}

TEST(QueryFlagsTest, RefusesRowsOfNoMatrix) {
  QueryFlags flags = WithText();
  flags.result.no_matrix = true;
  EXPECT_TRUE(Request(flags).ok());
  flags.result.rows = "first";
  EXPECT_EQ(ExitCodeOf(Request(flags).status()), kExitUsage);
  flags.result.html = "page.html";  // needs the rollout
  EXPECT_TRUE(Request(flags).ok());
}

TEST(QueryFlagsTest, LeavesOptionsThatWereNotGivenToTheServer) {
  const auto request = Request(WithText());
  EXPECT_FALSE(request->options.preset.has_value());
  EXPECT_FALSE(request->options.layer_idx.has_value());
  EXPECT_FALSE(request->options.residual_weight.has_value());
}

}  // namespace
}  // namespace attribution::cli
