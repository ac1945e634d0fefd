// Tests that each request of a chunk sees its own sequences alone, and that one that drops out leaves the
// others.
#include "server/engine/chunk_observer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/engine/fold_alone.h"
#include "tests/models/fake_runner.h"

namespace attribution::engine {
namespace {

constexpr int32_t kLayers = 3;
constexpr int64_t kLength = 4;

// A request of `sequences` sequences to a model of one head.
PreparedRequest Request(size_t sequences) {
  capture::ModelDescription description;
  for (int32_t site = 0; site < kLayers; ++site) {
    description.sites.push_back({site, "layer." + std::to_string(site), SiteKind::kBlocked, "", 1});
    description.execution_order.push_back(site);
  }
  auto layers = LayerSelection::Make(description, "", "puppet");
  auto model = std::make_shared<models::ResidentModel>();
  model->runner = std::make_unique<models::FakeRunner>(description);
  PreparedRequest request{model, {}, {}, {}, *std::move(layers)};
  request.options.layer_idx = request.options.end_layer = kLayers - 1;
  request.sequences.assign(sequences, TokenSequence{std::vector<int64_t>(kLength, 1), {}, {}});
  return request;
}

// Attention of sequence `b` of the chunk: every row looks at position b alone.
at::Tensor RowsOf(int64_t b) {
  at::Tensor rows = at::zeros({1, kLength, kLength});
  rows.select(2, b).fill_(1);
  return rows;
}

class ChunkObserverTest : public testing::Test {
 protected:
  ChunkObserverTest() {
    observer_.Add(first_, 1, [this] { return first_stop_; });
    observer_.Add(second_, 2, [this] { return second_stop_; });
  }

  // Shows one layer of three sequences, as a runner does. Returns whether the pass goes on.
  bool ShowLayer(int32_t layer) {
    if (!observer_.BeginLayer({layer, 3, 1, kLength})) return !observer_.IsOver();
    for (int64_t b = 0; b < 3; ++b) {
      observer_.AddRows(b, 0, RowsOf(b));
      observer_.EndSequence(b);
    }
    return observer_.EndLayer();
  }

  // Whether the rollout of a sequence looks at `column` besides at itself.
  static bool LooksAt(const ChunkFold& fold, int64_t i, int64_t column) {
    const at::Tensor others = fold.fold(i).rollout().clone();
    others.diagonal().zero_();
    return others.select(1, column).sum().item<double>() > 0 &&
           others.sum().item<double>() == others.select(1, column).sum().item<double>();
  }

  const PreparedRequest one_ = Request(1);
  const PreparedRequest two_ = Request(2);
  FoldAlone first_{one_, 0, 1, [](int32_t, const auto&) {}};
  FoldAlone second_{two_, 0, 2, [](int32_t, const auto&) {}};
  absl::Status first_stop_;
  absl::Status second_stop_;
  ChunkObserver observer_;
};

TEST_F(ChunkObserverTest, EachSeesItsOwnSequences) {
  for (int32_t layer = 0; layer < kLayers; ++layer) EXPECT_TRUE(ShowLayer(layer));
  ASSERT_TRUE(first_.Finish().ok());
  ASSERT_TRUE(second_.Finish().ok());
  EXPECT_TRUE(LooksAt(first_, 0, 0));
  EXPECT_TRUE(LooksAt(second_, 0, 1));
  EXPECT_TRUE(LooksAt(second_, 1, 2));
}

TEST_F(ChunkObserverTest, OneThatStopsLeavesTheOthers) {
  EXPECT_TRUE(ShowLayer(0));
  first_stop_ = absl::CancelledError("enough");
  for (int32_t layer = 1; layer < kLayers; ++layer) EXPECT_TRUE(ShowLayer(layer));
  EXPECT_EQ(first_.Finish(), absl::CancelledError("enough"));
  EXPECT_TRUE(second_.Finish().ok());
}

TEST_F(ChunkObserverTest, ThePassStopsWhenNobodyIsLeft) {
  EXPECT_TRUE(ShowLayer(0));
  first_stop_ = second_stop_ = absl::CancelledError("enough");
  EXPECT_FALSE(ShowLayer(1));
  EXPECT_TRUE(observer_.IsOver());
}

TEST_F(ChunkObserverTest, AnotherBatchThanTheChunksIsAnErrorOfAll) {
  EXPECT_FALSE(observer_.BeginLayer({0, 4, 1, kLength}));
  EXPECT_TRUE(observer_.IsOver());
  EXPECT_EQ(first_.Finish().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(second_.Finish().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace attribution::engine
