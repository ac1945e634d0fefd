#include "server/capture/whole_attention.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace attribution::capture {
namespace {

// Rows handed over at a time: a view, so the size bounds only the observer's own temporaries.
constexpr int64_t kRows = 128;

}  // namespace

bool ShowProbabilities(const at::Tensor& probabilities, int32_t site, int64_t heads,
                       AttentionObserver& observer) {
  const int64_t rank = probabilities.dim();
  const bool folded = rank == 3;
  if ((rank != 3 && rank != 4) || probabilities.size(-1) != probabilities.size(-2) ||
      (folded && probabilities.size(0) % heads != 0)) {
    observer.OtherShape(site, probabilities.sizes());
    return true;
  }
  const at::Tensor apart = folded ? probabilities.unflatten(0, {-1, heads}) : probabilities;
  const LayerShape shape{site, apart.size(0), apart.size(1), apart.size(2), /*in_blocks=*/false, folded};
  if (!observer.BeginLayer(shape)) return !observer.IsOver();
  for (int64_t sequence = 0; sequence < shape.batch; ++sequence) {
    const at::Tensor rows = apart.select(0, sequence);
    for (int64_t first = 0; first < shape.length; first += kRows) {
      observer.AddRows(sequence, first, rows.narrow(1, first, std::min(kRows, shape.length - first)));
    }
    observer.EndSequence(sequence);
  }
  return observer.EndLayer();
}

}  // namespace attribution::capture
