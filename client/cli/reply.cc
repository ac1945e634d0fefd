#include "client/cli/reply.h"

#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "client/cli/display_width.h"

namespace attribution::cli {
namespace {

static_assert(std::endian::native == std::endian::little, "Matrix slices are little-endian.");

absl::Status Add(const MatrixSlice& slice, Reply& reply) {
  if (slice.kind != MatrixKind::kRollout) return absl::OkStatus();
  const size_t columns = static_cast<size_t>(slice.columns);
  if (slice.encoding != MatrixEncoding::kFloat32 || slice.rows < 0 || slice.columns < 0 ||
      slice.data.size() != static_cast<size_t>(slice.rows) * columns * sizeof(float)) {
    return absl::DataLossError(absl::StrCat(
        "A matrix slice does not hold what it says: sequence ", slice.sequence_index, ", ", slice.rows, " x ",
        slice.columns, " cells, ", slice.data.size(), " bytes. Server and client may differ in version."));
  }
  RolloutRows& rollout = reply.rollouts[slice.sequence_index];
  rollout.columns = slice.columns;
  for (int i = 0; i < slice.rows; ++i) {
    std::vector<float>& row = rollout.rows[slice.first_row + i];
    row.resize(columns);
    std::memcpy(row.data(), slice.data.data() + static_cast<size_t>(i) * columns * sizeof(float),
                columns * sizeof(float));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Collect(const Event& event, Reply& reply) {
  if (const auto* admitted = std::get_if<Admitted>(&event)) {
    reply.admitted = *admitted;
  } else if (const auto* slice = std::get_if<MatrixSlice>(&event)) {
    return Add(*slice, reply);
  } else if (const auto* top = std::get_if<TopCells>(&event)) {
    if (top->kind != MatrixKind::kRollout) return absl::OkStatus();
    std::vector<Cell>& cells = reply.top_cells[top->sequence_index];
    cells.insert(cells.end(), top->cells.begin(), top->cells.end());
  } else if (const auto* replanned = std::get_if<Replanned>(&event)) {
    reply.rollouts.erase(reply.rollouts.lower_bound(replanned->first_sequence), reply.rollouts.end());
    reply.top_cells.erase(reply.top_cells.lower_bound(replanned->first_sequence), reply.top_cells.end());
  } else if (const auto* result = std::get_if<AttributionResult>(&event)) {
    reply.result = *result;
  }
  return absl::OkStatus();
}

std::vector<std::string> TokenLabels(const Reply& reply, int sequence, int length) {
  static const SequenceTokens none;
  const auto index = static_cast<size_t>(sequence);
  const SequenceTokens& known = index < reply.admitted.tokens.size() ? reply.admitted.tokens[index] : none;
  std::vector<std::string> labels;
  for (size_t i = 0; i < static_cast<size_t>(length); ++i) {
    if (i < known.tokens.size()) {
      labels.push_back(Printable(known.tokens[i]));
    } else {
      labels.push_back(i < known.input_ids.size() ? absl::StrCat(known.input_ids[i]) : absl::StrCat("#", i));
    }
  }
  return labels;
}

LabelledMatrix RolloutOf(const Reply& reply, int sequence) {
  const RolloutRows& rollout = reply.rollouts.at(sequence);
  LabelledMatrix matrix;
  matrix.column_labels = TokenLabels(reply, sequence, rollout.columns);
  for (const auto& [row, cells] : rollout.rows) {
    const auto index = static_cast<size_t>(row);
    matrix.row_labels.push_back(index < matrix.column_labels.size() ? matrix.column_labels[index]
                                                                    : absl::StrCat("#", row));
    matrix.values.insert(matrix.values.end(), cells.begin(), cells.end());
  }
  return matrix;
}

std::string TitleOf(const Reply& reply, int sequence, int width) {
  const auto index = static_cast<size_t>(sequence);
  if (index < reply.texts.size()) {
    const std::string text = Printable(reply.texts[index]);
    return DisplayWidth(text) <= width ? text : FitLeft(text, width);
  }
  if (index >= reply.result.sequences.size()) return "";
  const char* unit = reply.admitted.tokens.empty() ? " positions" : " tokens";
  return absl::StrCat(reply.result.sequences[index].seq_length, unit);
}

std::string PresetName(Preset preset) {
  switch (preset) {
    case Preset::kAbnar2020:
      return "ABNAR_2020";
    case Preset::kIclrMetrics:
      return "ICLR_METRICS";
    case Preset::kChefer2021:
      return "CHEFER_2021";
    case Preset::kVitExplain:
      return "VIT_EXPLAIN";
    case Preset::kVitExplainFixed:
      return "VIT_EXPLAIN_FIXED";
  }
  return "UNKNOWN";
}

}  // namespace attribution::cli
