#include "server/engine/plan_request.h"

#include <algorithm>
#include <optional>

#include "server/rollout/fold_rules.h"
#include "server/rollout/matrix_slices.h"

namespace attribution::engine {
namespace {

// Numbers and short vectors of a pass that were not there at load, each rounded up to 64 bytes.
constexpr double kSmallBlocksBytes = 512;
// Other shapes than those of the load may take a little more; what is learned of them takes its place.
constexpr double kUnseen = 1.03;

int64_t RowsOf(const RowSelection& selection) {
  switch (selection.kind) {
    case RowSelection::Kind::kFirstValid:
    case RowSelection::Kind::kLastValid:
      return 1;
    case RowSelection::Kind::kIndices:
      return static_cast<int64_t>(selection.indices.size());
    case RowSelection::Kind::kAll:
      break;
  }
  return admission::kAllRows;
}

// What folding the chosen rows alone costs, if nothing that is asked for needs the whole rollout.
std::optional<admission::RowsAlone> RowsAloneOf(const PreparedRequest& request) {
  const OutputSelection& output = request.output;
  const ResolvedOptions& options = request.options;
  if (output.rows.kind == RowSelection::Kind::kAll || !output.rollout_matrix ||
      !output.skip_rollout_metrics || output.top_k > 0 ||
      options.causal_correction != CausalCorrection::kNone || !rollout::FoldsRowsAlone(options) ||
      request.model->runner->description().layers_depend_on_input) {
    return std::nullopt;
  }
  return admission::RowsAlone{.rows = RowsOf(output.rows),
                              .layers = options.end_layer - options.start_layer + 1,
                              .keeps_layers = !rollout::RulesOf(options.preset).later_layer_on_the_right};
}

// The planner counts in positions of attention; the activations were measured by the length of the input, of
// fixed inputs by the longest site. Where the attention is shorter, each of its positions stands for more.
void CountByAttentionLength(const TensorInputs& tensors, const capture::ModelDescription& description,
                            admission::ModelCost& cost) {
  const int64_t measured =
      capture::HasFreeLength(description.inputs) ? tensors.input_length : description.LongestLength(1);
  const double ratio =
      std::max(1.0, static_cast<double>(measured) / static_cast<double>(tensors.attention_length));
  for (admission::RangeCost& range : cost.ranges) {
    for (admission::MomentCost* moment : {&range.forward, &range.attention}) {
      moment->bytes_per_token *= ratio;
      moment->bytes_per_cell *= ratio * ratio;
      moment->bytes_per_position *= ratio;
      moment->bytes_per_square *= ratio * ratio;
    }
  }
}

admission::MomentCost CostOf(const capture::MomentCost& moment) {
  return {.bytes_per_token = kUnseen * moment.bytes_per_token,
          .bytes_per_cell = kUnseen * moment.bytes_per_cell,
          .bytes_per_sequence = kUnseen * moment.bytes_per_sequence,
          .bytes_per_position = kUnseen * moment.bytes_per_position,
          .bytes_per_square = kUnseen * moment.bytes_per_square,
          .fixed_bytes = kUnseen * moment.fixed_bytes + kSmallBlocksBytes};
}

}  // namespace

admission::PlanRequest MakePlanRequest(const PreparedRequest& request, int64_t rows_in_work) {
  const capture::ModelDescription& description = request.model->runner->description();
  admission::PlanRequest plan;
  plan.cost.layers = request.layers.size();
  plan.cost.heads = description.num_heads;
  for (const capture::RangeCost& range : description.activation_cost.ranges)
    plan.cost.ranges.push_back({range.from_length, CostOf(range.forward), CostOf(range.attention)});
  plan.cost.score_bytes_per_cell = description.activation_cost.score_bytes_per_cell;
  plan.cost.block_rows = rows_in_work;
  if (request.learned != nullptr) plan.cost.correction = request.learned->memory.factors();
  plan.output.rollout_matrix = request.output.rollout_matrix;
  plan.output.cell_bytes = static_cast<int32_t>(rollout::CellBytes(request.output.encoding));
  plan.output.layer_matrices = request.output.layer_matrices;
  plan.output.layer_metrics = request.output.layer_metrics;
  plan.output.rows = RowsOf(request.output.rows);
  plan.output.top_cells = request.output.top_k;
  plan.output.corrected = IsCorrected(request);
  plan.output.uniform_rollout = request.options.causal_correction == CausalCorrection::kUniformRatio;
  for (int64_t i = 0; i < request.num_sequences(); ++i) plan.lengths.push_back(request.LengthOf(i));
  if (request.tensors.has_value()) CountByAttentionLength(*request.tensors, description, plan.cost);
  plan.equal_lengths_only = !description.has_mask();
  // What one sequence runs must not depend on those beside it.
  plan.max_chunk_size = description.layers_depend_on_input || description.one_sequence_at_a_time
                            ? 1
                            : request.options.max_chunk_size;
  plan.policy = request.options.chunk_policy;
  plan.rows_alone = RowsAloneOf(request);
  return plan;
}

}  // namespace attribution::engine
