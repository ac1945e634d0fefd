// Runs the models of tests/fixtures and compares what is observed with the attention that Python computed
// from their weights in float64.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "server/capture/model_runner.h"
#include "tests/capture/collecting_observer.h"

namespace attribution::capture {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kFixtures = ATTRIBUTION_FIXTURES;

absl::StatusOr<std::unique_ptr<ModelRunner>> Load(const std::string& name) {
  return LoadTorchScript(kFixtures + "/" + name + "/1/model.pt", {});
}

std::vector<std::string> Paths(const ModelDescription& description) {
  std::vector<std::string> paths;
  for (const AttentionSite& site : description.sites) paths.push_back(site.module_path);
  return paths;
}

class FixtureModelsTest : public testing::TestWithParam<std::string> {};

TEST_P(FixtureModelsTest, ShowsTheAttentionOfTheWeights) {
  const auto runner = Load(GetParam());
  ASSERT_TRUE(runner.ok()) << runner.status();
  const torch::jit::Module oracle = torch::jit::load(kFixtures + "/.oracle/" + GetParam() + ".pt");
  const at::Tensor ids = oracle.attr("input_ids").toTensor();
  const at::Tensor mask = oracle.attr("attention_mask").toTensor();
  const at::Tensor expected = oracle.attr("attentions").toTensor();  // [L, B, H, S, S]
  std::vector<at::Tensor> inputs;
  for (const RunnerInput& input : (*runner)->description().inputs) {
    const bool is_ids = input.role == InputRole::kInputIds;
    inputs.push_back(is_ids ? ids : input.role == InputRole::kAttentionMask ? mask : at::zeros_like(ids));
  }
  CollectingObserver observer;
  const absl::Status status = (*runner)->Run(inputs, observer);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(observer.layers().size(), expected.size(0));
  const at::Tensor valid = mask.to(at::kDouble).unsqueeze(1).unsqueeze(3);  // rows of padding mean nothing
  for (int64_t layer = 0; layer < expected.size(0); ++layer) {
    const at::Tensor actual = observer.layers()[layer].probabilities.mul(valid);
    EXPECT_LE(LargestDifference(actual, expected[layer].mul(valid)), 1e-5) << "layer " << layer;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, FixtureModelsTest,
                         testing::Values("tiny-bert-sdpa", "tiny-bert-eager", "tiny-gpt2-sdpa",
                                         "bare-two-inputs", "bare-eager", "bare-gated", "ids-only",
                                         "control-flow", "nan-model", "throws"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(FixtureDescriptionTest, TracedPathsNameTheModuleList) {
  const auto runner = Load("bare-two-inputs");
  ASSERT_TRUE(runner.ok()) << runner.status();
  EXPECT_THAT(Paths((*runner)->description()), ElementsAre("layers.0.attention", "layers.1.attention"));
  EXPECT_EQ((*runner)->description().vocabulary_size, 1000);
  EXPECT_EQ((*runner)->description().max_sequence_length, 64);
}

TEST(FixtureDescriptionTest, BertHasThePathsOfItsModules) {
  for (const std::string name : {"tiny-bert-sdpa", "tiny-bert-eager"}) {
    const auto runner = Load(name);
    ASSERT_TRUE(runner.ok()) << runner.status();
    const ModelDescription& description = (*runner)->description();
    ASSERT_EQ(description.sites.size(), 3);
    EXPECT_THAT(Paths(description)[2], HasSubstr("encoder.layer.2.attention"));
    EXPECT_EQ(description.vocabulary_size, 100);
    EXPECT_EQ(description.max_sequence_length, 64);
    EXPECT_EQ(description.num_heads, 4);
  }
}

TEST(FixtureDescriptionTest, GptReadsItsLimits) {
  const auto runner = Load("tiny-gpt2-sdpa");
  ASSERT_TRUE(runner.ok()) << runner.status();
  EXPECT_EQ((*runner)->description().vocabulary_size, 100);
  EXPECT_EQ((*runner)->description().max_sequence_length, 64);
}

// The mask that the model itself makes, padding on either side included.
TEST(FixtureCausalTest, GptLeavesOutWhatItsMaskHides) {
  const auto runner = Load("tiny-gpt2-sdpa");
  ASSERT_TRUE(runner.ok()) << runner.status();
  constexpr int64_t kLength = 40;
  const at::Tensor ids = at::arange(3 * kLength, at::kLong).remainder(7).view({3, kLength});
  at::Tensor mask = at::ones({3, kLength}, at::kLong);
  mask[1].narrow(0, 0, 9).fill_(0);
  mask[2].narrow(0, 30, 10).fill_(0);
  std::vector<at::Tensor> inputs;
  for (const RunnerInput& input : (*runner)->description().inputs) {
    inputs.push_back(input.role == InputRole::kAttentionMask ? mask : ids);
  }
  CollectingObserver short_rows;
  CollectingObserver whole_rows;
  whole_rows.NeedWholeRows();
  for (CollectingObserver* observer : {&short_rows, &whole_rows}) {
    const absl::Status status = (*runner)->Run(inputs, *observer);
    ASSERT_TRUE(status.ok()) << status;
  }
  EXPECT_LT(short_rows.cells_computed(), whole_rows.cells_computed());
  for (size_t layer = 0; layer < whole_rows.layers().size(); ++layer) {
    EXPECT_LE(
        LargestDifference(short_rows.layers()[layer].probabilities, whole_rows.layers()[layer].probabilities),
        1e-6);
  }
}

TEST(FixtureDescriptionTest, ScriptedLoopRunsItsSiteOnceALayer) {
  const auto runner = Load("control-flow");
  ASSERT_TRUE(runner.ok()) << runner.status();
  EXPECT_EQ((*runner)->description().sites.size(), 1);
  EXPECT_THAT((*runner)->description().execution_order, ElementsAre(0, 0, 0));
}

TEST(FixtureDescriptionTest, ModelWithoutMaskSaysSo) {
  const auto runner = Load("ids-only");
  ASSERT_TRUE(runner.ok()) << runner.status();
  EXPECT_FALSE((*runner)->description().has_mask());
}

TEST(FixtureDescriptionTest, ModelWithoutAttentionLoads) {
  const auto runner = Load("no-attention");
  ASSERT_TRUE(runner.ok()) << runner.status();
  EXPECT_TRUE((*runner)->description().sites.empty());
}

TEST(FixtureDescriptionTest, RefusedTokenIsInternal) {
  const auto runner = Load("throws");
  ASSERT_TRUE(runner.ok()) << runner.status();
  CollectingObserver unused;
  const absl::Status status =
      (*runner)->Run({at::full({1, 3}, 997, at::kLong), at::ones({1, 3}, at::kLong)}, unused);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("It said: the model refuses this token, at tiny_modules.py:"));
}

TEST(FixtureDescriptionTest, BrokenFileIsRefused) {
  EXPECT_EQ(Load("broken").status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace attribution::capture
