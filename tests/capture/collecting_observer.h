// CollectingObserver keeps every layer whole, for tests only, and holds the runner to the order it promises.
#ifndef TESTS_CAPTURE_COLLECTING_OBSERVER_H_
#define TESTS_CAPTURE_COLLECTING_OBSERVER_H_

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <limits>
#include <vector>

#include "server/capture/attention_observer.h"

namespace attribution::capture {

struct CollectedLayer {
  LayerShape shape;
  at::Tensor probabilities;  // [B, H, S, S] float64; NaN where no row came
};

// Fails the running test when a row comes twice or not at all, or a sequence out of order.
class CollectingObserver : public AttentionObserver {
 public:
  // Stops the run after `stop_after` layers.
  explicit CollectingObserver(size_t stop_after = std::numeric_limits<size_t>::max())
      : stop_after_(stop_after) {}

  // Asks for rows of full length from now on.
  void NeedWholeRows() { whole_rows_ = true; }

  bool NeedsWholeRows() const override { return whole_rows_; }

  bool BeginLayer(const LayerShape& shape) override {
    const double nothing = std::numeric_limits<double>::quiet_NaN();
    layers_.push_back(
        {shape, at::full({shape.batch, shape.heads, shape.length, shape.length}, nothing, at::kDouble)});
    rows_seen_ = 0;
    sequences_seen_ = 0;
    return true;
  }

  void AddRows(int64_t sequence, int64_t first_row, const at::Tensor& probabilities) override {
    const CollectedLayer& layer = layers_.back();
    ASSERT_EQ(probabilities.dim(), 3);
    EXPECT_EQ(probabilities.size(0), layer.shape.heads);
    EXPECT_LE(probabilities.size(2), layer.shape.length);
    at::Tensor rows = layer.probabilities.select(0, sequence).narrow(1, first_row, probabilities.size(1));
    EXPECT_TRUE(rows.isnan().all().item<bool>()) << "a row comes twice";
    rows.zero_().narrow(2, 0, probabilities.size(2)).copy_(probabilities);
    cells_computed_ += probabilities.numel();
    EXPECT_EQ(sequence, sequences_seen_) << "sequences come in order";
    rows_seen_ += probabilities.size(1);
  }

  void EndSequence(int64_t sequence) override {
    EXPECT_EQ(sequence, sequences_seen_++);
    EXPECT_EQ(rows_seen_, sequences_seen_ * layers_.back().shape.length) << "a row is missing";
  }

  bool EndLayer() override {
    EXPECT_EQ(rows_seen_, layers_.back().shape.batch * layers_.back().shape.length);
    return layers_.size() < stop_after_;
  }

  const std::vector<CollectedLayer>& layers() const { return layers_; }

  // Cells that blocks have brought so far, of all heads.
  int64_t cells_computed() const { return cells_computed_; }

 private:
  size_t stop_after_;
  bool whole_rows_ = false;
  std::atomic<int64_t> cells_computed_ = 0;
  int64_t sequences_seen_ = 0;
  std::atomic<int64_t> rows_seen_ = 0;
  std::vector<CollectedLayer> layers_;
};

// Largest |a - b|; infinite when shapes differ or a cell is not finite.
inline double LargestDifference(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return std::numeric_limits<double>::infinity();
  if (a.numel() == 0) return 0;
  const at::Tensor difference = a.to(at::kDouble).sub(b.to(at::kDouble)).abs();
  if (!difference.isfinite().all().item<bool>()) return std::numeric_limits<double>::infinity();
  return difference.max().item<double>();
}

}  // namespace attribution::capture

#endif  // TESTS_CAPTURE_COLLECTING_OBSERVER_H_
