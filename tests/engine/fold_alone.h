// A ChunkFold with a spare of its own, for tests of one request.
#ifndef TESTS_ENGINE_FOLD_ALONE_H_
#define TESTS_ENGINE_FOLD_ALONE_H_

#include <ATen/core/Tensor.h>

#include <utility>

#include "server/engine/chunk_fold.h"

namespace attribution::engine {

struct OwnSpare {
  at::Tensor spare;
};

class FoldAlone : private OwnSpare, public ChunkFold {
 public:
  FoldAlone(const PreparedRequest& request, int64_t first, int64_t count, LayerDone layer_done)
      : ChunkFold(request, first, count, std::move(layer_done), RolloutMethod::kFullMatrix, spare) {}
};

}  // namespace attribution::engine

#endif  // TESTS_ENGINE_FOLD_ALONE_H_
