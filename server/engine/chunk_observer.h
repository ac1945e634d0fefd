// ChunkObserver shows each request of a chunk the attention of its own sequences.
//
// One per chunk; lives on the worker that runs it. A request that is cancelled or fails drops out before the
// next layer, and the others go on; the pass stops when nobody wants more. It also stops, as out of memory,
// where the chunk has taken more than it may on a device whose allocator does not refuse.
#ifndef SERVER_ENGINE_CHUNK_OBSERVER_H_
#define SERVER_ENGINE_CHUNK_OBSERVER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "server/capture/attention_observer.h"
#include "server/engine/chunk_fold.h"

namespace attribution::engine {

class ChunkObserver : public capture::AttentionObserver {
 public:
  // Shows the next `sequences` sequences of the chunk to `fold`. `stop_reason` is asked at each layer: what
  // it returns ends the fold unless it is OK. `fold` outlives the observer. REQUIRES: the model does not run
  // yet.
  void Add(ChunkFold& fold, int64_t sequences, std::function<absl::Status()> stop_reason);

  bool BeginLayer(const capture::LayerShape& shape) override;
  bool IsOver() const override;
  bool WantsVisible() const override;
  void AddVisible(int64_t sequence, int64_t first_row, const at::Tensor& visible) override;
  void AddRows(int64_t sequence, int64_t first_row, const at::Tensor& probabilities) override;
  void EndSequence(int64_t sequence) override;
  bool EndLayer() override;

 private:
  struct Part {
    ChunkFold* fold;
    int64_t first;  // its sequences in the chunk: [first, first + count)
    int64_t count;
    std::function<absl::Status()> stop_reason;
    bool is_over = false;  // it wants no more layers
    bool wants = false;    // the current layer
  };

  Part& PartOf(int64_t sequence) { return parts_[part_of_[sequence]]; }

  std::vector<Part> parts_;
  std::vector<size_t> part_of_;  // by sequence of the chunk
};

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_CHUNK_OBSERVER_H_
