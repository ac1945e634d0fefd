// Tells what a request wants of a finished chunk besides its metrics: rows of matrices, largest cells.
//
// Belongs to the worker that ran the chunk.
#ifndef SERVER_ENGINE_CHUNK_OUTPUT_H_
#define SERVER_ENGINE_CHUNK_OUTPUT_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "attribution/events.h"
#include "server/engine/chunk_fold.h"
#include "server/engine/request_intake.h"
#include "server/memory/allocation_counter.h"

namespace attribution::engine {

// Cells in one TopCells event, at most: about 1 MiB on the wire.
inline constexpr int64_t kMaxCellsPerEvent = 1 << 16;

// Tells, for each sequence of the chunk, the chosen rows of its rollout, the same rows of its corrected
// rollout if one is asked for, then those of its layers from the first to the last; after all of them the
// largest cells of each rollout and of its corrected one. `tell` is given each event with the
// bytes that it holds; what is told of `fold` is let go of. What is held meanwhile besides counts in
// `counter`. `stop_reason` is asked before each sequence, and what it returns ends the telling unless it is
// OK. REQUIRES: `fold` is that of sequences [first_sequence, first_sequence + count) of `request`, and
// finished.
absl::Status TellChunkOutput(const PreparedRequest& request, int32_t first_sequence, int32_t count,
                             ChunkFold& fold, memory::AllocationCounter& counter,
                             const std::function<absl::Status()>& stop_reason,
                             const std::function<void(Event event, int64_t bytes)>& tell);

// Tells the `top_k` largest cells of `matrix`, which is the rollout of the sequence or made from it, in as
// many events as they need. `tell` and `counter` as above.
void TellTopCells(int32_t sequence, MatrixKind kind, const at::Tensor& matrix,
                  const rollout::ValidPositions& valid, int64_t top_k, memory::AllocationCounter& counter,
                  const std::function<void(Event event, int64_t bytes)>& tell);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_CHUNK_OUTPUT_H_
