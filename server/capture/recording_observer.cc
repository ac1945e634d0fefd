#include "server/capture/recording_observer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace attribution::capture {

bool RecordingObserver::BeginLayer(const LayerShape& shape) {
  layers_.push_back({shape});
  return shape.batch == valid_.size(0) && (any_length_ || shape.length == valid_.size(1));
}

void RecordingObserver::AddRows(int64_t sequence, int64_t first_row, const at::Tensor& probabilities) {
  const at::Tensor sums = probabilities.to(at::kFloat).sum(-1).cpu();  // [H, n]
  at::Tensor errors = sums.sub(1).abs_();
  if (probabilities.size(2) == valid_.size(1)) {
    const at::Tensor valid = valid_.select(0, sequence).narrow(0, first_row, probabilities.size(1));
    errors = errors.masked_select(valid.unsqueeze(0));
  }
  const double worst = errors.numel() == 0 ? 0 : errors.max().item<double>();

  const at::ScalarType dtype = probabilities.scalar_type();
  const std::scoped_lock lock(mutex_);
  RecordedLayer& layer = layers_.back();
  layer.half_precision = dtype == at::kHalf || dtype == at::kBFloat16;
  layer.row_sum_error =
      std::isfinite(worst) ? std::max(layer.row_sum_error, worst) : std::numeric_limits<double>::infinity();
}

}  // namespace attribution::capture
