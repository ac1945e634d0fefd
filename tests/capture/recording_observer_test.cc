#include "server/capture/recording_observer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace attribution::capture {
namespace {

// Two sequences of four, the second padded by two.
at::Tensor Valid() {
  at::Tensor valid = at::ones({2, 4}, at::kBool);
  valid.select(0, 1).narrow(0, 2, 2).fill_(false);
  return valid;
}

constexpr LayerShape kShape{/*site=*/3, /*batch=*/2, /*heads=*/2, /*length=*/4};

at::Tensor Uniform() { return at::full({2, 4, 4}, 0.25); }

TEST(RecordingObserverTest, RecordsTheOrderOfSites) {
  RecordingObserver observer(Valid());
  observer.BeginLayer(kShape);
  observer.BeginLayer({/*site=*/1, 2, 2, 4});
  ASSERT_EQ(observer.layers().size(), 2);
  EXPECT_EQ(observer.layers()[0].shape.site, 3);
  EXPECT_EQ(observer.layers()[1].shape.site, 1);
}

TEST(RecordingObserverTest, LooksOnlyAtLayersOverTheBatch) {
  RecordingObserver observer(Valid());
  EXPECT_TRUE(observer.BeginLayer(kShape));
  EXPECT_FALSE(observer.BeginLayer({0, /*batch=*/4, 2, 4}));
  EXPECT_FALSE(observer.BeginLayer({0, 2, 2, /*length=*/5}));
  EXPECT_EQ(observer.layers().size(), 3);
}

TEST(RecordingObserverTest, DistributionsHaveNoError) {
  RecordingObserver observer(Valid());
  observer.BeginLayer(kShape);
  observer.AddRows(0, 0, Uniform());
  EXPECT_TRUE(observer.EndLayer());
  EXPECT_EQ(observer.layers()[0].row_sum_error, 0);
  EXPECT_FALSE(observer.layers()[0].half_precision);
}

TEST(RecordingObserverTest, KeepsTheLargestErrorOfARow) {
  RecordingObserver observer(Valid());
  observer.BeginLayer(kShape);
  at::Tensor rows = Uniform();
  rows.select(0, 1).select(0, 2).fill_(0.375);  // head 1, row 2: sums to 1.5
  observer.AddRows(0, 0, rows);
  observer.AddRows(1, 0, Uniform());
  EXPECT_EQ(observer.layers()[0].row_sum_error, 0.5);
}

TEST(RecordingObserverTest, RowsOfPaddingDoNotCount) {
  RecordingObserver observer(Valid());
  observer.BeginLayer(kShape);
  observer.AddRows(1, /*first_row=*/2, at::zeros({2, 2, 4}));
  EXPECT_EQ(observer.layers()[0].row_sum_error, 0);
  observer.AddRows(1, /*first_row=*/1, at::zeros({2, 1, 4}));
  EXPECT_EQ(observer.layers()[0].row_sum_error, 1);
}

TEST(RecordingObserverTest, WhatIsNotFiniteIsAnInfiniteError) {
  RecordingObserver observer(Valid());
  observer.BeginLayer(kShape);
  at::Tensor rows = Uniform();
  rows.select(0, 0).select(0, 3).select(0, 1).fill_(std::numeric_limits<float>::quiet_NaN());
  observer.AddRows(0, 0, rows);
  observer.AddRows(1, 0, Uniform());  // must not make it good again
  EXPECT_TRUE(std::isinf(observer.layers()[0].row_sum_error));
}

TEST(RecordingObserverTest, NotesHalfPrecision) {
  RecordingObserver observer(Valid());
  observer.BeginLayer(kShape);
  observer.AddRows(0, 0, Uniform().to(at::kBFloat16));
  EXPECT_TRUE(observer.layers()[0].half_precision);
}

}  // namespace
}  // namespace attribution::capture
