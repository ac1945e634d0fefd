#include "server/rollout/head_fusion.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/rollout/attention_samples.h"

namespace attribution::rollout {
namespace {

at::Tensor TwoHeads(at::ScalarType dtype = at::kFloat) {
  return at::tensor({0.25, 0.75, 1.0, 0.0, 0.75, 0.25, 0.5, 0.5}, at::TensorOptions(at::kDouble))
      .view({2, 2, 2})
      .to(dtype);
}

TEST(HeadFusionTest, Mean) {
  EXPECT_EQ(ToMatrix(FuseHeads(TwoHeads(), HeadFusion::kMean, {})),
            (oracle::Matrix{{0.5, 0.5}, {0.75, 0.25}}));
}

TEST(HeadFusionTest, Maximum) {
  EXPECT_EQ(ToMatrix(FuseHeads(TwoHeads(), HeadFusion::kMax, {})),
            (oracle::Matrix{{0.75, 0.75}, {1.0, 0.5}}));
}

TEST(HeadFusionTest, Minimum) {
  EXPECT_EQ(ToMatrix(FuseHeads(TwoHeads(), HeadFusion::kMin, {})),
            (oracle::Matrix{{0.25, 0.25}, {0.5, 0.0}}));
}

TEST(HeadFusionTest, OneHeadWhateverTheFusion) {
  for (const HeadFusion fusion : {HeadFusion::kMean, HeadFusion::kMax, HeadFusion::kMin}) {
    EXPECT_EQ(ToMatrix(FuseHeads(TwoHeads(), fusion, 1)), (oracle::Matrix{{0.75, 0.25}, {0.5, 0.5}}));
  }
}

TEST(HeadFusionTest, ResultIsFloat32AndShareNothing) {
  for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
    for (const std::optional<int32_t> head : {std::optional<int32_t>(), std::optional<int32_t>(0)}) {
      const at::Tensor input = TwoHeads(dtype);
      at::Tensor fused = FuseHeads(input, HeadFusion::kMean, head);
      EXPECT_EQ(fused.scalar_type(), at::kFloat);
      fused.fill_(7);
      EXPECT_TRUE(at::equal(input, TwoHeads(dtype)));
    }
  }
}

TEST(HeadFusionTest, HalfPrecisionAccumulatesInFloat32) {
  // In float16 a sum of 3000 ones stops at 2048.
  const at::Tensor ones = at::ones({3000, 1, 1}, at::TensorOptions(at::kHalf));
  EXPECT_EQ(FuseHeads(ones, HeadFusion::kMean, {}).item<float>(), 1.0f);
}

TEST(HeadFusionTest, NanOfAnyHeadStays) {
  at::Tensor input = TwoHeads();
  input[0][0][0] = std::numeric_limits<float>::quiet_NaN();
  for (const HeadFusion fusion : {HeadFusion::kMean, HeadFusion::kMax, HeadFusion::kMin}) {
    EXPECT_TRUE(std::isnan(FuseHeads(input, fusion, {})[0][0].item<float>()));
  }
}

}  // namespace
}  // namespace attribution::rollout
