// RecordingObserver writes down what a model's attention looked like in one run: which sites ran, in which
// order, on what shapes, whether their rows sum to one, and what was no attention. One thread, one run.
#ifndef SERVER_CAPTURE_RECORDING_OBSERVER_H_
#define SERVER_CAPTURE_RECORDING_OBSERVER_H_

#include <ATen/core/Tensor.h>

#include <map>
#include <mutex>
#include <vector>

#include "server/capture/attention_observer.h"

namespace attribution::capture {

// One layer as it ran.
struct RecordedLayer {
  LayerShape shape;
  double row_sum_error =
      0;  // largest |sum - 1| over the rows of valid positions; infinite if one is not finite
  bool half_precision = false;

  // Largest row_sum_error that rounding explains.
  double row_sum_tolerance() const { return half_precision ? 3e-2 : 1e-3; }
};

class RecordingObserver : public AttentionObserver {
 public:
  // `valid`: [B, S] bool on the CPU. Layers of other shapes are recorded without looking at their rows; with
  // `any_length` only those of another batch are, and every position of another length than S counts.
  explicit RecordingObserver(at::Tensor valid, bool any_length = false)
      : valid_(std::move(valid)), any_length_(any_length) {}

  void OtherShape(int32_t site, at::IntArrayRef sizes) override { other_shapes_[site] = sizes.vec(); }
  bool BeginLayer(const LayerShape& shape) override;
  void AddRows(int64_t sequence, int64_t first_row, const at::Tensor& probabilities) override;
  void EndSequence(int64_t) override {}
  bool EndLayer() override { return true; }

  const std::vector<RecordedLayer>& layers() const { return layers_; }

  // Of each site that computed something else than attention, the sizes that it had last.
  const std::map<int32_t, std::vector<int64_t>>& other_shapes() const { return other_shapes_; }

 private:
  at::Tensor valid_;
  bool any_length_;
  std::mutex mutex_;  // of blocks that come at once
  std::map<int32_t, std::vector<int64_t>> other_shapes_;
  std::vector<RecordedLayer> layers_;  // the last one is guarded by mutex_ while rows come
};

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_RECORDING_OBSERVER_H_
