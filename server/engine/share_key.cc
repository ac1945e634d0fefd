#include "server/engine/share_key.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace attribution::engine {

std::string ShareKeyOf(const PreparedRequest& request) {
  const capture::ModelDescription& description = request.model->runner->description();
  const ResolvedOptions& options = request.options;
  const OutputSelection& output = request.output;
  if (request.tensors.has_value() || description.layers_depend_on_input ||
      description.one_sequence_at_a_time || options.max_chunk_size > 0) {
    return "";
  }
  const auto number = [](auto value) { return static_cast<int64_t>(value); };
  // The pattern goes last: it may hold any character.
  return absl::StrJoin(
      std::make_tuple(reinterpret_cast<uintptr_t>(request.model.get()), number(options.preset),
                      options.layer_idx, options.start_layer, options.end_layer, options.residual_weight,
                      number(options.head_fusion), options.head.value_or(-1), options.discard_ratio,
                      number(options.include_padding), number(options.causal_correction),
                      number(options.chunk_policy), number(output.layer_metrics),
                      number(output.rollout_matrix), number(output.layer_matrices), number(output.rows.kind),
                      absl::StrJoin(output.rows.indices, ","), output.top_k, number(output.encoding),
                      number(output.skip_rollout_metrics), options.attention_layer_pattern),
      "|");
}

}  // namespace attribution::engine
