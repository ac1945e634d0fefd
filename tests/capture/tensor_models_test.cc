// Models that take tensors, from the warm-up to a run.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/capture/attention_discovery.h"
#include "server/capture/tensor_warm_up.h"
#include "tests/capture/collecting_observer.h"
#include "tests/capture/tiny_model.h"

namespace attribution::capture {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const RunnerInput kFeatures{"features", InputRole::kOther, TensorDtype::kFloat32, {-1, -1, 8}};
const RunnerInput kPixels{"pixel_values", InputRole::kOther, TensorDtype::kFloat16, {-1, 3, 4, 4}};
const RunnerInput kMask{"attention_mask", InputRole::kAttentionMask, TensorDtype::kInt64, {-1, -1}};
const RunnerInput kDecoderIds{"decoder_input_ids", InputRole::kOther, TensorDtype::kInt32, {-1, -1}};
const RunnerInput kFlags{"flags", InputRole::kOther, TensorDtype::kBool, {-1, 7}};

TEST(TensorWarmUpTest, TensorsAreAsDeclared) {
  const auto batch = MakeWarmUpBatch({kFeatures, kPixels, kMask, kDecoderIds, kFlags}, 2, 9, 50, 3, at::kCPU);
  EXPECT_TRUE(batch.any_length);
  ASSERT_EQ(batch.inputs.size(), 5);
  EXPECT_THAT(batch.inputs[0].sizes().vec(), ElementsAre(2, 9, 8));
  EXPECT_EQ(batch.inputs[0].scalar_type(), at::kFloat);
  EXPECT_NEAR(batch.inputs[0].std().item<double>(), 1, 0.3);
  EXPECT_THAT(batch.inputs[1].sizes().vec(), ElementsAre(2, 3, 4, 4));
  EXPECT_EQ(batch.inputs[1].scalar_type(), at::kHalf);
  EXPECT_TRUE(batch.inputs[2].equal(
      at::tensor({1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0}, at::kLong).view({2, 9})));
  EXPECT_TRUE(batch.valid.equal(batch.inputs[2].to(at::kBool)));
  EXPECT_EQ(batch.inputs[3].scalar_type(), at::kInt);
  EXPECT_GE(batch.inputs[3].min().item<int64_t>(), 0);
  EXPECT_LT(batch.inputs[3].max().item<int64_t>(), 50);
  EXPECT_GT(batch.inputs[3].max().item<int64_t>(), 1);
  EXPECT_EQ(batch.inputs[4].scalar_type(), at::kBool);
  EXPECT_THAT(batch.inputs[4].sizes().vec(), ElementsAre(2, 7));
}

TEST(TensorWarmUpTest, SameSeedSameValues) {
  const auto values = [](uint64_t seed) {
    return MakeWarmUpBatch({kFeatures}, 1, 5, 0, seed, at::kCPU).inputs[0];
  };
  EXPECT_TRUE(values(1).equal(values(1)));
  EXPECT_FALSE(values(1).equal(values(2)));
}

TEST(TensorWarmUpTest, DeclaredTokensAreStillTokens) {
  const RunnerInput ids{"input_ids", InputRole::kInputIds};
  EXPECT_FALSE(MakeWarmUpBatch({ids, kMask}, 2, 9, 50, 3, at::kCPU).any_length);
  EXPECT_TRUE(TakesTensors({ids, kFeatures}));
}

// Attention over the features x [B, n, 8] as `lines` cut them.
torch::jit::Module ModelWith(const std::string& lines) {
  return ModuleOf("def forward(self, x):\n    x = x.unsqueeze(1)\n" + lines + "    return x\n");
}

absl::StatusOr<DiscoveredAttention> Discover(const torch::jit::Module& module) {
  std::vector<WarmUpBatch> batches;
  for (const auto& [batch, length] : {std::pair{1, 8}, {2, 24}, {1, 17}, {1, 18}, {1, 19}}) {
    batches.push_back(MakeWarmUpBatch({kFeatures}, batch, length, 0, /*seed=*/0, at::kCPU));
  }
  return DiscoverAttention(module, InlineForward(module), batches, "");
}

constexpr char kAttend[] = "    x = torch.scaled_dot_product_attention(x, x, x)\n";

TEST(TensorDiscoveryTest, SitesMayHaveLengthsOfTheirOwn) {
  const auto found = Discover(ModelWith(std::string(kAttend) + "    x = x[:, :, ::2]\n" + kAttend +
                                        "    x = x[:, :, :3]\n" + kAttend));
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->sites.size(), 3);
  EXPECT_THAT(found->execution_order, ElementsAre(0, 1, 2));
  EXPECT_EQ(found->site_lengths[0], LengthRule{});
  EXPECT_EQ(found->site_lengths[1], (LengthRule{.slope = 1, .offset = 1, .divisor = 2}));
  EXPECT_EQ(found->site_lengths[2], (LengthRule{.slope = 0, .offset = 3}));
}

TEST(TensorDiscoveryTest, LengthThatFollowsNothingIsSkipped) {
  const auto found =
      Discover(ModelWith(std::string(kAttend) + "    x = x[:, :, :x.size(2) % 7 + 1]\n" + kAttend));
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->sites.size(), 1);
  ASSERT_EQ(found->skipped.size(), 1);
  EXPECT_EQ(found->skipped[0].reason, "its length does not follow the input's");
}

absl::StatusOr<std::unique_ptr<ModelRunner>> LoadWith(const torch::jit::Module& module,
                                                      const RunnerInput& input) {
  LoadOptions options;
  options.input_names = {input.name};
  options.declared_inputs = {{input.name, input.dtype, input.shape}};
  return LoadTorchScript(Save(module), options);
}

TEST(TensorModelTest, RunsOnTheTensorsItDeclares) {
  const auto runner = LoadWith(ModelWith(kAttend), kFeatures);
  ASSERT_TRUE(runner.ok()) << runner.status();
  const ModelDescription& description = (*runner)->description();
  EXPECT_TRUE(description.takes_tensors());
  EXPECT_EQ(description.LongestLength(31), 31);
  const at::Tensor x = at::randn({2, 5, 8});
  CollectingObserver observer;
  ASSERT_TRUE((*runner)->Run({x}, observer).ok());
  const at::Tensor scores = at::matmul(x.to(at::kDouble), x.to(at::kDouble).transpose(1, 2)) / std::sqrt(8.0);
  ASSERT_EQ(observer.layers().size(), 1);
  EXPECT_TRUE(at::allclose(observer.layers()[0].probabilities.squeeze(1).to(at::kDouble),
                           at::softmax(scores, -1), 0, 1e-6));
}

TEST(TensorModelTest, FixedSizeIsMeasuredByTheBatchAlone) {
  const RunnerInput fixed{"x", InputRole::kOther, TensorDtype::kFloat32, {-1, 6, 8}};
  const auto runner = LoadWith(ModelWith(std::string("    x = torch.sin(x)\n") + kAttend), fixed);
  ASSERT_TRUE(runner.ok()) << runner.status();
  const ModelDescription& description = (*runner)->description();
  EXPECT_TRUE(description.site_lengths[0].fixed());
  EXPECT_EQ(description.LongestLength(1), 6);
  ASSERT_EQ(description.activation_cost.ranges.size(), 1);
  const MomentCost& forward = description.activation_cost.ranges[0].forward;
  EXPECT_EQ(forward.bytes_per_cell, 0);
  // The run's own copy of x, and its sine.
  EXPECT_GE(forward.bytes_per_token, 16 * sizeof(float));
  EXPECT_LT(forward.bytes_per_token, 24 * sizeof(float));
}

TEST(TensorModelTest, InputThatIsNotDeclaredIsRefused) {
  const auto runner = LoadTorchScript(Save(ModelWith(kAttend)), {.input_names = {"pixel_values"}});
  EXPECT_THAT(std::string(runner.status().message()),
              HasSubstr("needs an input that no request can provide"));
}

}  // namespace
}  // namespace attribution::capture
