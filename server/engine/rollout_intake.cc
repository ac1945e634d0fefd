#include "server/engine/rollout_intake.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/admission/memory_model.h"
#include "server/engine/output_checks.h"
#include "server/rollout/attention_header.h"
#include "server/rollout/attention_statistics.h"
#include "server/rollout/rollout_options.h"

namespace attribution::engine {
namespace {

// Cells are converted so many at a time: as given, as float32, and what checking them makes.
constexpr double kCellsAtATime = 1 << 16;
constexpr double kBytesOfACell = 4 + 4 + 2;

absl::Status CheckLimits(const AttentionHeader& header, const RequestLimits& limits) {
  if (header.batch > limits.max_sequences) {
    return InvalidField("header.batch",
                        absl::StrCat("The batch is larger than the server takes. It has ", header.batch,
                                     " sequences; at most ", limits.max_sequences, " are taken. Split it."));
  }
  if (limits.max_sequence_length > 0 && header.length > limits.max_sequence_length) {
    return InvalidField("header.seq_length",
                        absl::StrCat("Sequences are longer than the server takes. They have ", header.length,
                                     " positions; at most ", limits.max_sequence_length, " are taken."));
  }
  return absl::OkStatus();
}

// Refuses what only a model gives a meaning to, rather than to ignore it.
absl::Status CheckModelless(const RolloutRequest& request) {
  if (!request.options.attention_layer_pattern.empty()) {
    return InvalidField("options.attention_layer_pattern",
                        "A pattern chooses layers by their module path, and attention that is sent has none. "
                        "Send the layers that you want, or set start_layer and end_layer.");
  }
  if (request.options.max_chunk_size > 0 && request.options.max_chunk_size < request.header.batch) {
    return InvalidField("options.max_chunk_size",
                        absl::StrCat("Attention that is sent is one chunk. max_chunk_size is ",
                                     request.options.max_chunk_size, " and the batch ", request.header.batch,
                                     ". Leave max_chunk_size unset, or send fewer sequences at a time."));
  }
  if (request.output.tokens)
    return InvalidField("output.tokens", "There are no tokens: attention was sent. Leave tokens unset.");
  if (request.output.layer_matrices)
    return NotBuilt("output.layer_matrices", "Sending back the layers of a Rollout");
  return absl::OkStatus();
}

double SizeOfStatistics(const AttentionHeader& header) {
  return static_cast<double>(header.layers) * static_cast<double>(header.batch) *
         sizeof(rollout::AttentionStatistics);
}

// Rows that are folded at a time, and what is made of them meanwhile.
constexpr double kRowsAtATime = 128;
constexpr double kFoldedBlocks = 3;

int64_t Predict(const PreparedRollout& rollout, int64_t length) {
  const auto side = static_cast<double>(length);
  admission::ModelCost cost;
  cost.layers = rollout.header.layers;
  cost.heads = 1;  // heads are fused as they come
  const double folded_rows = kFoldedBlocks * kRowsAtATime * side * sizeof(float);
  const double piece =
      static_cast<double>(kMaxRolloutPieceBytes) + std::min(kCellsAtATime, side * side) * kBytesOfACell;
  cost.ranges = {{.forward = {.fixed_bytes = side * side * sizeof(float) + std::max(piece, folded_rows) +
                                             SizeOfStatistics(rollout.header)}}};
  admission::OutputCost output;
  output.rollout_matrix = rollout.output.rollout_matrix;
  output.cell_bytes = rollout.output.encoding == MatrixEncoding::kFloat16 ? 2 : 4;
  switch (rollout.output.rows.kind) {
    case RowSelection::Kind::kAll:
      break;
    case RowSelection::Kind::kFirstValid:
    case RowSelection::Kind::kLastValid:
      output.rows = 1;
      break;
    case RowSelection::Kind::kIndices:
      output.rows = static_cast<int64_t>(rollout.output.rows.indices.size());
  }
  output.top_cells = rollout.output.top_k;
  output.corrected = rollout.options.causal_correction != CausalCorrection::kNone;
  output.uniform_rollout = rollout.options.causal_correction == CausalCorrection::kUniformRatio;
  return admission::PredictPeakBytes(cost, {rollout.header.batch, length}, output);
}

}  // namespace

const std::vector<int32_t>& PreparedRollout::MaskOf(int64_t sequence) const {
  static const std::vector<int32_t> all_valid;
  return header.masks.empty() ? all_valid : header.masks[sequence];
}

absl::StatusOr<PreparedRollout> PrepareRollout(RolloutRequest request, const RequestLimits& limits) {
  if (absl::Status status = rollout::CheckHeader(request.header); !status.ok()) return status;
  if (absl::Status status = CheckLimits(request.header, limits); !status.ok()) return status;
  if (absl::Status status = CheckModelless(request); !status.ok()) return status;
  auto options = rollout::ResolveOptions(request.options, request.header.layers,
                                         static_cast<int32_t>(request.header.heads));
  if (!options.ok()) return options.status();
  if (options->chunk_policy == ChunkPolicy::kServerDefault)
    options->chunk_policy = limits.default_chunk_policy;
  if (absl::Status status = CheckOutput(request.output); !status.ok()) return status;
  PreparedRollout prepared{std::move(request.header), *std::move(options), std::move(request.output)};
  absl::Status rows = TakeRowIndices(
      prepared.header.batch, [&prepared](int64_t) { return prepared.header.length; },
      [&prepared](int64_t b) -> const std::vector<int32_t>& { return prepared.MaskOf(b); },
      prepared.output.rows.indices);
  if (!rows.ok()) return rows;
  return prepared;
}

int64_t PredictRolloutBytes(const PreparedRollout& rollout) {
  return Predict(rollout, rollout.header.length);
}

int64_t LongestRolloutThatFits(const PreparedRollout& rollout, int64_t bytes) {
  int64_t fits = 0;
  int64_t too_long = rollout.header.length + 1;
  while (too_long - fits > 1) {
    const int64_t middle = fits + (too_long - fits) / 2;
    (Predict(rollout, middle) <= bytes ? fits : too_long) = middle;
  }
  return fits;
}

}  // namespace attribution::engine
