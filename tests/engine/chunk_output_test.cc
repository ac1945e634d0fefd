#include "server/engine/chunk_output.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "server/memory/allocation_counter.h"
#include "tests/engine/fold_alone.h"
#include "tests/models/fake_runner.h"

namespace attribution::engine {
namespace {

constexpr int32_t kLayers = 4;
constexpr int64_t kLength = 300;
constexpr int64_t kMatrixBytes = kLength * kLength * 4;
constexpr int64_t kKeptBytes = 2 * kMatrixBytes * kLayers;  // of two sequences

// A request of two sequences that wants all layers, of a model with one head.
PreparedRequest LayersRequest() {
  capture::ModelDescription description;
  for (int32_t site = 0; site < kLayers; ++site) {
    description.sites.push_back({site, "layer." + std::to_string(site), SiteKind::kBlocked, "", 1});
    description.execution_order.push_back(site);
  }
  auto layers = LayerSelection::Make(description, "", "uniform");
  auto model = std::make_shared<models::ResidentModel>();
  model->runner = std::make_unique<models::FakeRunner>(description);
  PreparedRequest request{model, {}, {}, {}, *std::move(layers)};
  request.options.layer_idx = request.options.end_layer = kLayers - 1;
  request.output.layer_matrices = true;
  request.sequences.assign(2, TokenSequence{std::vector<int64_t>(kLength, 1), {}, {}});
  return request;
}

// Shows every layer of uniform attention to `fold`.
void ShowAll(ChunkFold& fold) {
  const at::Tensor uniform = at::full({1, kLength, kLength}, 1.0 / kLength);
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    ASSERT_TRUE(fold.BeginLayer({layer, 2, 1, kLength}));
    for (const int64_t sequence : {0, 1}) {
      fold.AddRows(sequence, 0, uniform);
      fold.EndSequence(sequence);
    }
    fold.EndLayer();
  }
  ASSERT_EQ(fold.Finish(), absl::OkStatus());
}

absl::Status GoOn() { return absl::OkStatus(); }

class ChunkOutputTest : public testing::Test {
 protected:
  ChunkOutputTest() : scope_(counter_), fold_(request_, 0, 2, [](auto, auto&) {}) { ShowAll(fold_); }

  memory::AllocationCounter counter_;
  const memory::AllocationScope scope_;
  PreparedRequest request_ = LayersRequest();
  FoldAlone fold_;
};

// What the memory model counts on: one matrix is there twice, no more.
TEST_F(ChunkOutputTest, LetsGoOfALayerBeforeItCopiesTheNext) {
  const int64_t before = counter_.live_bytes();
  int64_t told = 0;
  int64_t most = 0;
  const auto tell = [&](const Event&, int64_t bytes) {
    told += bytes;
    most = std::max(most, counter_.live_bytes() + told);
  };
  EXPECT_EQ(TellChunkOutput(request_, 0, 2, fold_, counter_, GoOn, tell), absl::OkStatus());
  EXPECT_EQ(told, kKeptBytes);
  EXPECT_EQ(most - before, kMatrixBytes);
  EXPECT_EQ(before - counter_.live_bytes(), kKeptBytes);
}

TEST_F(ChunkOutputTest, LongListOfCellsComesInSeveralEvents) {
  request_.output.top_k = kLength * kLength;
  std::vector<std::pair<int32_t, size_t>> lists;
  fold_.TakeLayers(0);
  fold_.TakeLayers(1);
  const int64_t before = counter_.live_bytes();
  const auto tell = [&](const Event& event, int64_t bytes) {
    const auto* top = std::get_if<TopCells>(&event);
    if (top == nullptr) return;
    lists.emplace_back(top->sequence_index, top->cells.size());
    EXPECT_EQ(bytes, static_cast<int64_t>(top->cells.size()) * 12);
    EXPECT_EQ(counter_.live_bytes() - before, kLength * kLength * 12);  // the whole list
  };
  EXPECT_EQ(TellChunkOutput(request_, 5, 2, fold_, counter_, GoOn, tell), absl::OkStatus());
  EXPECT_EQ(counter_.live_bytes(), before);
  const size_t rest = kLength * kLength - kMaxCellsPerEvent;
  EXPECT_EQ(lists, (std::vector<std::pair<int32_t, size_t>>{
                       {5, kMaxCellsPerEvent}, {5, rest}, {6, kMaxCellsPerEvent}, {6, rest}}));
}

TEST_F(ChunkOutputTest, StopsBetweenSequences) {
  int asked = 0;
  std::vector<int32_t> told;
  const absl::Status status = TellChunkOutput(
      request_, 0, 2, fold_, counter_,
      [&] { return ++asked == 1 ? absl::OkStatus() : absl::CancelledError("enough"); },
      [&](const Event& event, int64_t) { told.push_back(std::get<MatrixSlice>(event).sequence_index); });
  EXPECT_EQ(status, absl::CancelledError("enough"));
  EXPECT_EQ(told, std::vector<int32_t>(kLayers, 0));
}

}  // namespace
}  // namespace attribution::engine
