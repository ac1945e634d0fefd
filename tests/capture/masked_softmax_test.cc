// Both ways of the softmax, our kernel and ATen's operators, against each other: float32 takes the first on
// the CPU, float64 the second.
#include "server/capture/masked_softmax.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/capture/collecting_observer.h"

namespace attribution::capture {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

at::Tensor Softmax(const at::Tensor& scores, const at::Tensor& mask, int64_t causal_row, HiddenRows hidden) {
  at::Tensor result = scores.clone();
  MaskedSoftmax(result, mask, causal_row, hidden);
  return result;
}

class MaskedSoftmaxTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  MaskedSoftmaxTest() { at::manual_seed(7); }

  at::Tensor Random(at::IntArrayRef sizes) const { return at::randn(sizes, at::kDouble).to(GetParam()); }
};

TEST_P(MaskedSoftmaxTest, AddsTheMask) {
  const at::Tensor scores = Random({3, 5, 9});
  for (const at::Tensor& mask :
       {Random({1, 1, 9}), Random({1, 5, 9}), Random({3, 1, 1}), Random({9, 5}).t()}) {
    const at::Tensor expected = at::softmax(scores.to(at::kDouble) + mask.to(at::kDouble), -1);
    EXPECT_LE(LargestDifference(Softmax(scores, mask, kNotCausal, HiddenRows::kNan), expected), 1e-6);
  }
}

TEST_P(MaskedSoftmaxTest, HidesLaterColumns) {
  const at::Tensor scores = Random({2, 4, 9});
  const at::Tensor later = at::ones({4, 9}, at::kBool).triu(3 + 1);
  const at::Tensor expected = at::softmax(scores.to(at::kDouble).masked_fill(later, kMinusInfinity), -1);
  EXPECT_LE(LargestDifference(Softmax(scores, {}, /*causal_row=*/3, HiddenRows::kZero), expected), 1e-6);
}

TEST_P(MaskedSoftmaxTest, ARowOfWhichNothingIsLeftIsWhatWasAsked) {
  const at::Tensor scores = Random({2, 3, 5});
  at::Tensor mask = at::zeros({1, 3, 5}, scores.options());
  mask.select(1, 1).fill_(kMinusInfinity);
  const at::Tensor zero = Softmax(scores, mask, kNotCausal, HiddenRows::kZero);
  EXPECT_TRUE(zero.select(1, 1).eq(0).all().item<bool>());
  const at::Tensor nan = Softmax(scores, mask, kNotCausal, HiddenRows::kNan);
  EXPECT_TRUE(nan.select(1, 1).isnan().all().item<bool>());
  EXPECT_TRUE(nan.select(1, 2).isfinite().all().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Types, MaskedSoftmaxTest, testing::Values(at::kFloat, at::kDouble));

}  // namespace
}  // namespace attribution::capture
