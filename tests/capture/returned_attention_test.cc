#include "server/capture/returned_attention.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/capture/collecting_observer.h"

namespace attribution::capture {
namespace {

using c10::IValue;
using testing::IsEmpty;
using torch::jit::Stack;

WarmUpBatch Batch(int64_t sequences, int64_t length) {
  return {{}, at::ones({sequences, length}, at::kBool)};
}

at::Tensor Attention(at::IntArrayRef sizes) { return at::rand(sizes).softmax(-1); }

// What `outputs` gives for one sequence of 5 and for two of 7.
ReturnedAttention Find(const std::function<Stack(int64_t sequences, int64_t length)>& outputs) {
  return FindReturnedAttention({Batch(1, 5), Batch(2, 7)}, {outputs(1, 5), outputs(2, 7)});
}

std::vector<std::string> Paths(const ReturnedAttention& found) {
  std::vector<std::string> paths;
  for (const ReturnedLayer& layer : found.layers) paths.push_back(layer.path);
  return paths;
}

TEST(ReturnedAttentionTest, FindsItInTuplesListsAndDictionaries) {
  const ReturnedAttention found = Find([](int64_t b, int64_t s) {
    c10::Dict<std::string, at::Tensor> by_name;
    by_name.insert("attention", Attention({b, 3, s, s}));
    by_name.insert("hidden", at::rand({b, s, 8}));
    c10::List<at::Tensor> list;
    list.push_back(Attention({b, s, s}));
    list.push_back(at::rand({b, s}));
    return Stack{c10::ivalue::Tuple::create({IValue(at::rand({b, s, 8})), IValue(list), IValue(by_name)})};
  });
  EXPECT_THAT(Paths(found), testing::ElementsAre("output.1.0", "output.2.attention"));
  EXPECT_EQ(found.layers[0].heads, 1);
  EXPECT_EQ(found.layers[1].heads, 3);
  EXPECT_FALSE(found.one_sequence_at_a_time);
}

TEST(ReturnedAttentionTest, OneMatrixForAllIsForOneSequenceAtATime) {
  const ReturnedAttention found = Find([](int64_t, int64_t s) { return Stack{Attention({s, s})}; });
  EXPECT_EQ(found.layers.size(), 1);
  EXPECT_TRUE(found.one_sequence_at_a_time);
}

TEST(ReturnedAttentionTest, WhatCannotBeAttentionIsLeft) {
  const auto of = [](const std::function<at::Tensor(int64_t, int64_t)>& tensor) {
    return Find([&](int64_t b, int64_t s) { return Stack{tensor(b, s)}; }).layers;
  };
  EXPECT_THAT(of([](int64_t b, int64_t s) { return -Attention({b, s, s}); }), IsEmpty());
  EXPECT_THAT(of([](int64_t b, int64_t s) { return Attention({b, s, s}) / 0.0; }), IsEmpty());
  EXPECT_THAT(of([](int64_t b, int64_t s) { return Attention({b, 2, s, s + 1}); }), IsEmpty());
  EXPECT_THAT(of([](int64_t b, int64_t s) { return Attention({b + 1, s, s}); }), IsEmpty());
  EXPECT_THAT(of([](int64_t b, int64_t) { return Attention({b, 5, 5}); }), IsEmpty());
  EXPECT_THAT(of([](int64_t b, int64_t s) { return at::ones({b, s, s}, at::kLong); }), IsEmpty());
}

TEST(ReturnedAttentionTest, LayersAreShownInOrderAndLetGo) {
  const at::Tensor first = Attention({2, 3, 7, 7});
  const at::Tensor second = Attention({2, 7, 7});
  const ReturnedAttention found{{{0, "output.0", 3}, {1, "output.1", 1}}, false};
  CollectingObserver observer;
  ShowReturnedAttention(found, Stack{first, second}, observer);
  ASSERT_EQ(observer.layers().size(), 2);
  EXPECT_LE(LargestDifference(observer.layers()[0].probabilities, first.to(at::kDouble)), 0);
  EXPECT_LE(LargestDifference(observer.layers()[1].probabilities, second.unsqueeze(1).to(at::kDouble)), 0);
  EXPECT_EQ(first.use_count(), 1);
  EXPECT_EQ(second.use_count(), 1);
}

}  // namespace
}  // namespace attribution::capture
