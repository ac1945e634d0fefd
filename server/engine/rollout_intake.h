// Rollout intake: everything that is checked, and what is predicted, before a rollout of the caller's
// attention asks for memory.
//
// Pure functions; any thread.
#ifndef SERVER_ENGINE_ROLLOUT_INTAKE_H_
#define SERVER_ENGINE_ROLLOUT_INTAKE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "attribution/attention_header.h"
#include "server/engine/request_intake.h"

namespace attribution::engine {

// Bytes of a piece that the memory is reserved for.
inline constexpr int64_t kMaxRolloutPieceBytes = 1 << 20;

// A rollout that can begin: sizes, masks, options and row indices have been checked.
struct PreparedRollout {
  AttentionHeader header;
  ResolvedOptions options;
  OutputSelection output;  // row indices ascending, each once

  // Which positions of a sequence are valid; empty: all.
  const std::vector<int32_t>& MaskOf(int64_t sequence) const;
};

// INVALID_ARGUMENT with the field for what is out of range, or has no meaning without a model: tokens, a
// pattern of module paths, chunks. UNIMPLEMENTED for the matrices of layers.
absl::StatusOr<PreparedRollout> PrepareRollout(RolloutRequest request, const RequestLimits& limits);

// Returns the predicted peak in bytes: R of each sequence, the spare, the head-fused matrix, one piece and
// the cells made of it, statistics of every layer, and what waits to be sent. Saturates.
int64_t PredictRolloutBytes(const PreparedRollout& rollout);

// Returns the longest sequences, all else being the same, whose prediction is at most `bytes`; 0 if none is.
int64_t LongestRolloutThatFits(const PreparedRollout& rollout, int64_t bytes);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_ROLLOUT_INTAKE_H_
