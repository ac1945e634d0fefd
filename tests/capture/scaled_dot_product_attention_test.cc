#include "server/capture/scaled_dot_product_attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <tuple>

#include "server/capture/blocked_attention.h"
#include "server/memory/allocation_counter.h"
#include "tests/capture/collecting_observer.h"
#include "tests/capture/reference_attention.h"

namespace attribution::capture {
namespace {

constexpr int64_t kBatch = 2;
constexpr int64_t kHeads = 3;
constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

at::Tensor Random(at::IntArrayRef shape) {
  static at::Generator generator = at::detail::createCPUGenerator(/*seed_val=*/7);
  return at::randn(shape, generator, at::kFloat);
}

// As models have it: [B, S, H, D] seen as [B, H, S, D].
at::Tensor Projection(int64_t heads, int64_t length, int64_t width) {
  return Random({kBatch, length, heads, width}).transpose(1, 2);
}

AttentionInputs Inputs(int64_t length) {
  AttentionInputs inputs;
  inputs.query = Projection(kHeads, length, 8).mul(1.5);
  inputs.key = Projection(kHeads, length, 8);
  inputs.value = Projection(kHeads, length, 5);  // V differs from D
  return inputs;
}

// A mask that keeps about two of three cells, the first column always.
at::Tensor SomeKept(at::IntArrayRef shape) {
  at::Tensor kept = Random(shape) > -0.4;
  kept.select(-1, 0).fill_(true);
  return kept;
}

at::Tensor Earlier(int64_t length) { return at::ones({length, length}, at::kBool).tril(); }

struct Variant {
  std::string name;
  void (*apply)(AttentionInputs& inputs, int64_t length);
};

const Variant kVariants[] = {
    {"NoMask", [](AttentionInputs&, int64_t) {}},
    {"BoolMaskOfKeys", [](AttentionInputs& inputs, int64_t n) { inputs.mask = SomeKept({kBatch, 1, 1, n}); }},
    {"BoolMaskOfCells",
     [](AttentionInputs& inputs, int64_t n) { inputs.mask = SomeKept({kBatch, 1, n, n}); }},
    {"BoolMaskForAll", [](AttentionInputs& inputs, int64_t n) { inputs.mask = SomeKept({n, n}); }},
    {"BoolMaskOfHeads",
     [](AttentionInputs& inputs, int64_t n) { inputs.mask = SomeKept({1, kHeads, n, n}); }},
    {"AddedBias", [](AttentionInputs& inputs, int64_t n) { inputs.mask = Random({kBatch, kHeads, n, n}); }},
    {"AddedMinimum",
     [](AttentionInputs& inputs, int64_t n) {
       inputs.mask =
           at::zeros({kBatch, 1, 1, n})
               .masked_fill(SomeKept({kBatch, 1, 1, n}).logical_not(), std::numeric_limits<float>::lowest());
     }},
    {"EmptyRowsOfBoolMask",
     [](AttentionInputs& inputs, int64_t n) {
       inputs.mask = SomeKept({kBatch, 1, n, n});
       inputs.mask->select(0, 1).select(1, n / 2).fill_(false);
       inputs.mask->select(0, 0).select(1, n - 1).fill_(false);
     }},
    {"EmptySequence",
     [](AttentionInputs& inputs, int64_t n) {
       inputs.mask = SomeKept({kBatch, 1, 1, n});
       inputs.mask->select(0, 1).fill_(false);
     }},
    {"EmptyRowsOfAddedMask",
     [](AttentionInputs& inputs, int64_t n) {
       inputs.mask = Random({kBatch, kHeads, n, n});
       inputs.mask->select(0, 0).select(0, 1).select(0, n - 1).fill_(kMinusInfinity);
     }},
    {"Causal", [](AttentionInputs& inputs, int64_t) { inputs.is_causal = true; }},
    {"CausalWithMask",
     [](AttentionInputs& inputs, int64_t n) {
       inputs.is_causal = true;
       inputs.mask = SomeKept({kBatch, 1, n, n});
     }},
    {"CausalWithKeyMask",
     [](AttentionInputs& inputs, int64_t n) {
       inputs.is_causal = true;
       inputs.mask = SomeKept({kBatch, 1, 1, n});
     }},
    {"BoolMaskOfEarlier", [](AttentionInputs& inputs, int64_t n) { inputs.mask = Earlier(n); }},
    {"AddedMinusInfinityToLater",
     [](AttentionInputs& inputs, int64_t n) {
       inputs.mask = at::zeros({n, n}).masked_fill(Earlier(n).logical_not(), kMinusInfinity);
     }},
    {"AddedMinimumToLaterAndLeftPadding",
     [](AttentionInputs& inputs, int64_t n) {
       at::Tensor kept = Earlier(n).repeat({kBatch, 1, 1, 1});
       kept.select(0, 1).narrow(-1, 0, n / 3).fill_(false);
       inputs.mask =
           at::zeros(kept.sizes()).masked_fill(kept.logical_not(), std::numeric_limits<float>::lowest());
     }},
    {"SlidingWindow", [](AttentionInputs& inputs, int64_t n) { inputs.mask = Earlier(n).triu(-3); }},
    {"WindowOfEachHead",
     [](AttentionInputs& inputs, int64_t n) {
       inputs.mask = at::stack({Earlier(n), at::ones({n, n}, at::kBool).tril(40), Earlier(n)});
     }},
    {"SparseAndEarlier",
     [](AttentionInputs& inputs, int64_t n) { inputs.mask = Earlier(n).logical_and(Random({n, n}) > 0.5); }},
    {"GivenScale", [](AttentionInputs& inputs, int64_t) { inputs.scale = 0.9; }},
    {"DropoutIsIgnored", [](AttentionInputs& inputs, int64_t) { inputs.dropout = 0.5; }},
    {"GroupedQueries",
     [](AttentionInputs& inputs, int64_t n) {
       inputs.query = Projection(6, n, 8);
       inputs.key = Projection(2, n, 8);
       inputs.value = Projection(2, n, 5);
       inputs.enable_gqa = true;
     }},
};

class ScaledDotProductAttentionTest : public testing::TestWithParam<std::tuple<Variant, int64_t>> {
 protected:
  ScaledDotProductAttentionTest() : length_(std::get<1>(GetParam())), inputs_(Inputs(length_)) {
    std::get<0>(GetParam()).apply(inputs_, length_);
  }

  int64_t length_;
  AttentionInputs inputs_;
};

TEST_P(ScaledDotProductAttentionTest, GivesTheProbabilitiesAndOutputOfTheReference) {
  const ReferenceAttention expected = ComputeReferenceAttention(inputs_);
  CollectingObserver observer;
  observer.BeginLayer(ShapeOf(inputs_, 0));
  const at::Tensor output = BlockedAttention(inputs_, /*needs_output=*/true, observer);
  observer.EndLayer();
  EXPECT_LE(LargestDifference(observer.layers()[0].probabilities, expected.probabilities), 5e-6);
  EXPECT_LE(LargestDifference(output, expected.output), 2e-5);
}

TEST_P(ScaledDotProductAttentionTest, GivesTheSameProbabilitiesWithoutOutput) {
  const ReferenceAttention expected = ComputeReferenceAttention(inputs_);
  CollectingObserver observer;
  observer.BeginLayer(ShapeOf(inputs_, 0));
  EXPECT_FALSE(BlockedAttention(inputs_, /*needs_output=*/false, observer).defined());
  observer.EndLayer();
  EXPECT_LE(LargestDifference(observer.layers()[0].probabilities, expected.probabilities), 5e-6);
}

TEST_P(ScaledDotProductAttentionTest, GivesTheOutputOfAten) {
  inputs_.dropout = 0;
  CollectingObserver observer;
  observer.BeginLayer(ShapeOf(inputs_, 0));
  const at::Tensor output = BlockedAttention(inputs_, /*needs_output=*/true, observer);
  if (inputs_.is_causal && inputs_.mask.has_value()) {  // which ATen refuses; so it gets one mask for both
    inputs_.mask = inputs_.mask->logical_and(at::ones({length_, length_}, at::kBool).tril());
    inputs_.is_causal = false;
  }
  EXPECT_LE(LargestDifference(output, PlainAttention(inputs_)), 2e-5);
}

// However many threads share the rows, none is missed and none computed twice.
TEST_P(ScaledDotProductAttentionTest, ThreadsDoNotMatter) {
  const ReferenceAttention expected = ComputeReferenceAttention(inputs_);
  const int before = at::get_num_threads();
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    CollectingObserver observer;
    observer.BeginLayer(ShapeOf(inputs_, 0));
    const at::Tensor output = BlockedAttention(inputs_, /*needs_output=*/true, observer);
    observer.EndLayer();
    EXPECT_LE(LargestDifference(observer.layers()[0].probabilities, expected.probabilities), 5e-6);
    EXPECT_LE(LargestDifference(output, expected.output), 2e-5);
  }
  at::set_num_threads(before);
}

// Leaving columns out does not show.
TEST_P(ScaledDotProductAttentionTest, WholeRowsAreTheSame) {
  CollectingObserver short_rows;
  CollectingObserver whole_rows;
  whole_rows.NeedWholeRows();
  at::Tensor outputs[2];
  for (CollectingObserver* observer : {&short_rows, &whole_rows}) {
    observer->BeginLayer(ShapeOf(inputs_, 0));
    outputs[observer == &whole_rows ? 1 : 0] = BlockedAttention(inputs_, /*needs_output=*/true, *observer);
    observer->EndLayer();
  }
  EXPECT_LE(LargestDifference(short_rows.layers()[0].probabilities, whole_rows.layers()[0].probabilities),
            1e-6);
  EXPECT_LE(LargestDifference(outputs[0], outputs[1]), 1e-5);
  EXPECT_EQ(whole_rows.cells_computed(), whole_rows.layers()[0].probabilities.numel());
}

// 127, 128, 129: one block short of full, full, and a second block of one row.
INSTANTIATE_TEST_SUITE_P(Variants, ScaledDotProductAttentionTest,
                         testing::Combine(testing::ValuesIn(kVariants),
                                          testing::Values(1, 2, 127, 128, 129, 300)),
                         [](const auto& info) {
                           return std::get<0>(info.param).name + "Of" +
                                  std::to_string(std::get<1>(info.param));
                         });

struct HalfCase {
  at::ScalarType dtype;
  double bound;  // of the output, whose values stay below 4: two units in the last place
};

class ScaledDotProductAttentionHalfTest : public testing::TestWithParam<HalfCase> {};

TEST_P(ScaledDotProductAttentionHalfTest, RoundsOnlyInputsAndOutput) {
  AttentionInputs inputs = Inputs(129);
  inputs.mask = SomeKept({kBatch, 1, 1, 129});
  for (at::Tensor* tensor : {&inputs.query, &inputs.key, &inputs.value})
    *tensor = tensor->to(GetParam().dtype);
  const ReferenceAttention expected = ComputeReferenceAttention(inputs);
  CollectingObserver observer;
  observer.BeginLayer(ShapeOf(inputs, 0));
  const at::Tensor output = BlockedAttention(inputs, /*needs_output=*/true, observer);
  EXPECT_EQ(output.scalar_type(), GetParam().dtype);
  EXPECT_LE(LargestDifference(observer.layers()[0].probabilities, expected.probabilities), 5e-6);
  EXPECT_LE(LargestDifference(output, expected.output), GetParam().bound);
}

TEST_P(ScaledDotProductAttentionHalfTest, LeavesOutWhatAMaskOfTheSameTypeHides) {
  AttentionInputs inputs = Inputs(200);
  inputs.mask = at::zeros({200, 200}).masked_fill(Earlier(200).logical_not(), -65504).to(GetParam().dtype);
  for (at::Tensor* tensor : {&inputs.query, &inputs.key, &inputs.value})
    *tensor = tensor->to(GetParam().dtype);
  const ReferenceAttention expected = ComputeReferenceAttention(inputs);
  CollectingObserver observer;
  observer.BeginLayer(ShapeOf(inputs, 0));
  const at::Tensor output = BlockedAttention(inputs, /*needs_output=*/true, observer);
  EXPECT_LT(observer.cells_computed(), expected.probabilities.numel());
  EXPECT_LE(LargestDifference(observer.layers()[0].probabilities, expected.probabilities), 5e-6);
  EXPECT_LE(LargestDifference(output, expected.output), GetParam().bound);
}

TEST_P(ScaledDotProductAttentionHalfTest, TakesAnAddedMaskOfTheSameType) {
  AttentionInputs inputs = Inputs(40);
  inputs.mask = Random({kBatch, 1, 40, 40}).to(GetParam().dtype);
  for (at::Tensor* tensor : {&inputs.query, &inputs.key, &inputs.value})
    *tensor = tensor->to(GetParam().dtype);
  const ReferenceAttention expected = ComputeReferenceAttention(inputs);
  CollectingObserver observer;
  observer.BeginLayer(ShapeOf(inputs, 0));
  BlockedAttention(inputs, /*needs_output=*/false, observer);
  EXPECT_LE(LargestDifference(observer.layers()[0].probabilities, expected.probabilities), 5e-6);
}

INSTANTIATE_TEST_SUITE_P(Types, ScaledDotProductAttentionHalfTest,
                         testing::Values(HalfCase{at::kHalf, 4e-3}, HalfCase{at::kBFloat16, 3.2e-2}),
                         [](const auto& info) { return c10::toString(info.param.dtype); });

// Of n rows in b blocks a causal mask leaves (b + 1) / 2b of the cells.
TEST(ScaledDotProductAttentionShapeTest, AboutHalfOfACausalMatrixIsComputed) {
  for (const bool as_mask : {false, true}) {
    AttentionInputs inputs = Inputs(1024);
    inputs.is_causal = !as_mask;
    if (as_mask) inputs.mask = Earlier(1024);
    CollectingObserver observer;
    observer.BeginLayer(ShapeOf(inputs, 0));
    BlockedAttention(inputs, /*needs_output=*/false, observer);
    EXPECT_LE(observer.cells_computed(), kBatch * kHeads * 1024 * 1024 * 9 / 16);
  }
}

TEST(ScaledDotProductAttentionShapeTest, DoubleStaysDouble) {
  AttentionInputs inputs = Inputs(30);
  for (at::Tensor* tensor : {&inputs.query, &inputs.key, &inputs.value}) *tensor = tensor->to(at::kDouble);
  CollectingObserver observer;
  observer.BeginLayer(ShapeOf(inputs, 0));
  const at::Tensor output = BlockedAttention(inputs, /*needs_output=*/true, observer);
  EXPECT_LE(LargestDifference(output, ComputeReferenceAttention(inputs).output), 1e-13);
}

TEST(ScaledDotProductAttentionShapeTest, OutputHasTheLayoutThatModelsReadNext) {
  CollectingObserver observer;
  const AttentionInputs inputs = Inputs(12);
  observer.BeginLayer(ShapeOf(inputs, 0));
  const at::Tensor output = BlockedAttention(inputs, /*needs_output=*/true, observer);
  EXPECT_EQ(output.sizes(), at::IntArrayRef({kBatch, kHeads, 12, 5}));
  EXPECT_TRUE(output.transpose(1, 2).is_contiguous()) << "merging the heads must not copy";
}

TEST(ScaledDotProductAttentionShapeTest, LeavesItsInputsAlone) {
  AttentionInputs inputs = Inputs(130);
  inputs.mask = Random({kBatch, 1, 130, 130});
  const at::Tensor before[] = {inputs.query.clone(), inputs.key.clone(), inputs.value.clone(),
                               inputs.mask->clone()};
  CollectingObserver observer;
  observer.BeginLayer(ShapeOf(inputs, 0));
  BlockedAttention(inputs, /*needs_output=*/true, observer);
  EXPECT_TRUE(inputs.query.equal(before[0]) && inputs.key.equal(before[1]));
  EXPECT_TRUE(inputs.value.equal(before[2]) && inputs.mask->equal(before[3]));
}

TEST(ScaledDotProductAttentionShapeTest, NamesSiteBatchHeadsAndLength) {
  const LayerShape shape = ShapeOf(Inputs(12), /*site=*/5);
  EXPECT_EQ(shape.site, 5);
  EXPECT_EQ(shape.batch, kBatch);
  EXPECT_EQ(shape.heads, kHeads);
  EXPECT_EQ(shape.length, 12);
}

TEST(ScaledDotProductAttentionShapeTest, CrossAttentionIsNotSelfAttention) {
  AttentionInputs inputs = Inputs(12);
  EXPECT_TRUE(HeadsApart(inputs, 1).has_value());
  inputs.key = Projection(kHeads, 13, 8);
  EXPECT_FALSE(HeadsApart(inputs, 1).has_value());
  EXPECT_EQ(ProbabilitySizes(inputs), (std::vector<int64_t>{kBatch, kHeads, 12, 13}));
}

TEST(ScaledDotProductAttentionShapeTest, HeadsThatAreFoldedIntoTheBatchComeApart) {
  AttentionInputs inputs = Inputs(12);
  inputs.mask = SomeKept({kBatch, 1, 12, 12});
  AttentionInputs folded = inputs;
  for (at::Tensor* tensor : {&folded.query, &folded.key, &folded.value}) *tensor = tensor->flatten(0, 1);
  folded.mask = inputs.mask->expand({kBatch, kHeads, -1, -1}).flatten(0, 1);
  const auto apart = HeadsApart(folded, kHeads);
  ASSERT_TRUE(apart.has_value());
  EXPECT_TRUE(apart->query.equal(inputs.query) && apart->key.equal(inputs.key));
  EXPECT_TRUE(apart->value.equal(inputs.value));
  EXPECT_TRUE(apart->mask->equal(inputs.mask->expand({kBatch, kHeads, -1, -1})));
  EXPECT_FALSE(HeadsApart(folded, kBatch * kHeads - 1).has_value());
}

// Looks at nothing, so that what is counted is the operator's own.
class BlindObserver : public AttentionObserver {
 public:
  bool BeginLayer(const LayerShape&) override { return true; }
  void AddRows(int64_t, int64_t, const at::Tensor&) override {}
  void EndSequence(int64_t) override {}
  bool EndLayer() override { return true; }
};

class ScaledDotProductAttentionMemoryTest : public testing::TestWithParam<bool> {};

TEST_P(ScaledDotProductAttentionMemoryTest, ScratchIsTheRowsInWork) {
  constexpr int64_t kLength = 512;
  AttentionInputs inputs;
  for (at::Tensor* tensor : {&inputs.query, &inputs.key, &inputs.value}) {
    *tensor = Random({4, kLength, 8, 16}).transpose(1, 2);
  }
  inputs.mask = at::ones({4, 1, 1, kLength}, at::kBool);
  memory::AllocationCounter counter;
  BlindObserver observer;
  {
    const memory::AllocationScope scope(counter);
    BlockedAttention(inputs, /*needs_output=*/GetParam(), observer);
  }
  const int64_t block = 8 * RowsInWork(at::get_num_threads()) * kLength * static_cast<int64_t>(sizeof(float));
  EXPECT_GE(counter.attention_peak_bytes(), block);
  EXPECT_LE(counter.attention_peak_bytes(), block * 3 / 2) << "[H, S, S] would be 4 blocks, [B, H, S, S] 16";
  const int64_t output = GetParam() ? 4 * 8 * kLength * 16 * static_cast<int64_t>(sizeof(float)) : 0;
  EXPECT_EQ(counter.peak_bytes() - counter.attention_peak_bytes(), output)
      << "the output is the model's, not attention's";
}

INSTANTIATE_TEST_SUITE_P(Output, ScaledDotProductAttentionMemoryTest, testing::Bool());

}  // namespace
}  // namespace attribution::capture
