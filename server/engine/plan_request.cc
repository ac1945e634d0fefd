#include "server/engine/plan_request.h"

#include "server/rollout/matrix_slices.h"

namespace attribution::engine {
namespace {

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

}  // namespace

admission::PlanRequest MakePlanRequest(const PreparedRequest& request, int64_t rows_in_work) {
  const capture::ModelDescription& description = request.model->runner->description();
  admission::PlanRequest plan;
  plan.cost.layers = request.layers.size();
  plan.cost.heads = description.num_heads;
  plan.cost.bytes_per_token = description.activation_cost.bytes_per_token;
  plan.cost.bytes_per_cell = description.activation_cost.bytes_per_cell;
  plan.cost.fixed_bytes = description.activation_cost.fixed_bytes;
  plan.cost.block_rows = rows_in_work;
  plan.output.rollout_matrix = request.output.rollout_matrix;
  plan.output.cell_bytes = static_cast<int32_t>(rollout::CellBytes(request.output.encoding));
  plan.output.layer_matrices = request.output.layer_matrices;
  plan.output.rows = RowsOf(request.output.rows);
  plan.output.top_cells = request.output.top_k;
  plan.output.corrected = IsCorrected(request);
  plan.output.uniform_rollout = request.options.causal_correction == CausalCorrection::kUniformRatio;
  for (const TokenSequence& sequence : request.sequences) {
    plan.lengths.push_back(static_cast<int64_t>(sequence.input_ids.size()));
  }
  plan.equal_lengths_only = !description.has_mask();
  plan.max_chunk_size = request.options.max_chunk_size;
  plan.policy = request.options.chunk_policy;
  return plan;
}

}  // namespace attribution::engine
