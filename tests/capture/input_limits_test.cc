#include "server/capture/input_limits.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/capture/tiny_model.h"

namespace attribution::capture {
namespace {

const std::vector<RunnerInput> kIdsAndMask = {{"input_ids", InputRole::kInputIds},
                                              {"attention_mask", InputRole::kAttentionMask}};

InputLimits LimitsOf(const torch::jit::Module& module, const std::vector<RunnerInput>& inputs = kIdsAndMask) {
  return FindInputLimits(module, InlineForward(module), inputs, at::kCPU);
}

// A model of forward(input_ids, attention_mask) whose tables `tokens` and `table` have that many rows;
// `indices` is Python.
torch::jit::Module ModelOfTable(int64_t rows, const std::string& indices) {
  torch::jit::Module module("__torch__.Tables");
  module.register_parameter("tokens", at::zeros({1000, 2}), /*is_buffer=*/false);
  module.register_parameter("table", at::zeros({rows, 2}), /*is_buffer=*/false);
  module.define(
      "def forward(self, input_ids, attention_mask):\n    s = input_ids.size(1)\n    indices = " + indices +
      "\n    return torch.embedding(self.tokens, input_ids), torch.embedding(self.table, indices)\n");
  return module;
}

TEST(InputLimitsTest, ReadsVocabularyAndPositions) {
  const InputLimits limits = LimitsOf(MakeTinyModel(1, /*fused=*/true).module);
  EXPECT_EQ(limits.vocabulary_size, kTinyVocabulary);
  EXPECT_EQ(limits.max_sequence_length, kTinyPositions);
  EXPECT_EQ(limits.token_type_vocabulary_size, 0);
}

TEST(InputLimitsTest, ReadsTokenTypes) {
  torch::jit::Module module("__torch__.Types");
  module.register_parameter("tokens", at::zeros({30, 2}), /*is_buffer=*/false);
  module.register_parameter("types", at::zeros({3, 2}), /*is_buffer=*/false);
  module.define(
      "def forward(self, input_ids, token_type_ids):\n"
      "    return torch.embedding(self.tokens, input_ids) + torch.embedding(self.types, token_type_ids)\n");
  const InputLimits limits =
      LimitsOf(module, {{"input_ids", InputRole::kInputIds}, {"token_type_ids", InputRole::kTokenTypeIds}});
  EXPECT_EQ(limits.vocabulary_size, 30);
  EXPECT_EQ(limits.token_type_vocabulary_size, 3);
  EXPECT_EQ(limits.max_sequence_length, 0);
}

TEST(InputLimitsTest, PositionsThatStartAfterThePaddingIndex) {  // as RoBERTa has them
  const std::string positions = "torch.cumsum((input_ids != 1) * 1, 1) * ((input_ids != 1) * 1) + 1";
  EXPECT_EQ(LimitsOf(ModelOfTable(20, positions)).max_sequence_length, 18) << "rows 2 to 19";
}

TEST(InputLimitsTest, PaddingIndexMayBeAnyId) {
  for (const std::string padding : {"2", "3", "7"}) {
    const std::string counted = "((input_ids != " + padding + ") * 1)";
    const std::string positions = "torch.cumsum(" + counted + ", 1) * " + counted + " + 1";
    EXPECT_EQ(LimitsOf(ModelOfTable(20, positions)).max_sequence_length, 18) << padding;
  }
}

TEST(InputLimitsTest, PositionsCountedFromTheMask) {  // as OPT has them
  const std::string positions = "torch.cumsum(attention_mask, 1) * attention_mask - 1 + 2";
  EXPECT_EQ(LimitsOf(ModelOfTable(22, positions)).max_sequence_length, 20) << "rows 2 to 21";
}

TEST(InputLimitsTest, PositionsCutFromABuffer) {  // as BERT has them
  torch::jit::Module module("__torch__.Buffer");
  module.register_parameter("positions", at::zeros({30, 2}), /*is_buffer=*/false);
  module.register_buffer("places", at::arange(30).unsqueeze(0));
  module.define(
      "def forward(self, input_ids, attention_mask):\n"
      "    return torch.embedding(self.positions, self.places[:, :input_ids.size(1)])\n");
  const InputLimits limits = LimitsOf(module);
  EXPECT_EQ(limits.max_sequence_length, 30);
  EXPECT_EQ(limits.vocabulary_size, 0);
}

TEST(InputLimitsTest, RelativeBucketsLimitNothing) {  // as T5 has them
  const std::string buckets =
      "torch.clamp(torch.arange(s).unsqueeze(0) - torch.arange(s).unsqueeze(1), -8, 8) + 8";
  EXPECT_EQ(LimitsOf(ModelOfTable(17, buckets)).max_sequence_length, 0);
}

TEST(InputLimitsTest, PositionsThatAreClampedLimitNothing) {
  EXPECT_EQ(LimitsOf(ModelOfTable(17, "torch.clamp(torch.arange(s), 0, 16)")).max_sequence_length, 0);
}

TEST(InputLimitsTest, TableOfAConstantLimitsNothing) {
  EXPECT_EQ(LimitsOf(ModelOfTable(17, "torch.zeros([1], dtype=4)")).max_sequence_length, 0);
}

TEST(InputLimitsTest, IdsThatAreShiftedAreNotTheVocabulary) {
  const InputLimits limits = LimitsOf(ModelOfTable(500, "input_ids + 1"));
  EXPECT_EQ(limits.vocabulary_size, 1000);
  EXPECT_EQ(limits.max_sequence_length, 0);
}

TEST(InputLimitsTest, TheSmallestTableDecides) {
  EXPECT_EQ(LimitsOf(ModelOfTable(40, "input_ids")).vocabulary_size, 40);
}

TEST(InputLimitsTest, LargeTablesAreProbedToTheLastRow) {
  EXPECT_EQ(LimitsOf(ModelOfTable(8193, "torch.arange(s)")).max_sequence_length, 8193);
}

TEST(InputLimitsTest, ModelWithoutTablesHasNoLimits) {
  const InputLimits limits =
      LimitsOf(ModuleOf("def forward(self, input_ids, attention_mask):\n    return input_ids * 2\n"));
  EXPECT_EQ(limits.vocabulary_size, 0);
  EXPECT_EQ(limits.token_type_vocabulary_size, 0);
  EXPECT_EQ(limits.max_sequence_length, 0);
}

TEST(InputLimitsTest, ModelThatRefusesTheProbeHasNoLimits) {
  torch::jit::Module module("__torch__.Refusing");
  module.register_parameter("tokens", at::zeros({10, 2}), /*is_buffer=*/false);
  module.define(
      "def forward(self, input_ids, attention_mask):\n"
      "    assert input_ids.size(0) > 5, 'too few'\n"
      "    return torch.embedding(self.tokens, input_ids)\n");
  EXPECT_EQ(LimitsOf(module).vocabulary_size, 0);
}

}  // namespace
}  // namespace attribution::capture
