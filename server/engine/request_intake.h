// Request intake: everything that is checked before a request asks for memory.
//
// Pure functions of a request and the model that serves it; any thread.
#ifndef SERVER_ENGINE_REQUEST_INTAKE_H_
#define SERVER_ENGINE_REQUEST_INTAKE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "attribution/request.h"
#include "server/admission/learned_cost.h"
#include "server/engine/layer_selection.h"
#include "server/engine/tensor_inputs.h"
#include "server/models/resident_model.h"

namespace attribution::engine {

// Bounds that the operator sets on a request.
struct RequestLimits {
  int32_t max_sequences = 4096;
  int64_t max_sequence_length = 0;  // 0: the model's own
  ChunkPolicy default_chunk_policy = ChunkPolicy::kAdaptive;
};

// A request that can run: every id, mask, layer number and pattern has been checked against the model.
struct PreparedRequest {
  std::shared_ptr<const models::ResidentModel> model;
  std::vector<TokenSequence> sequences;  // none if the model takes tensors
  ResolvedOptions options;
  OutputSelection output;  // row indices ascending, each once
  LayerSelection layers;
  AttributionOptions asked_options = {};              // before they were resolved
  std::optional<TensorInputs> tensors{};              // of a model that takes tensors
  std::shared_ptr<admission::LearnedCost> learned{};  // of the model; null: nothing is known

  int64_t num_sequences() const {
    return tensors.has_value() ? tensors->sequences : static_cast<int64_t>(sequences.size());
  }
  // Positions of the attention of a sequence, and which of them are valid; an empty mask: all.
  int64_t LengthOf(int64_t sequence) const;
  const std::vector<int32_t>& MaskOf(int64_t sequence) const;
};

// Whether a corrected rollout is told beside the plain one.
inline bool IsCorrected(const PreparedRequest& request) {
  return request.options.causal_correction != CausalCorrection::kNone;
}

// Checks `request` against `model`; texts become token ids, and with include_padding every sequence becomes
// as long as the longest. INVALID_ARGUMENT with the field for values out of range, FAILED_PRECONDITION where
// the model cannot do it, UNIMPLEMENTED for what is not built yet.
absl::StatusOr<PreparedRequest> PrepareRequest(AttributionRequest request, const RequestLimits& limits,
                                               std::shared_ptr<const models::ResidentModel> model);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_REQUEST_INTAKE_H_
