#include "client/cli/query_report.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/display_width.h"
#include "client/cli/format.h"
#include "client/cli/heat_map.h"
#include "client/cli/metric_rows.h"
#include "client/cli/table.h"

namespace attribution::cli {
namespace {

// Tells how to read a heat map.
constexpr char kReading[] = "rows: query tokens; columns: tokens attended to\n";

std::string Summary(const Reply& reply) {
  const Admitted& admitted = reply.admitted;
  const ResolvedOptions& options = admitted.options;
  const std::string source =
      reply.model.empty()
          ? "Attention of the caller"
          : absl::StrCat("Model ", Printable(reply.model), ", version ", Printable(admitted.model_version));
  return absl::StrFormat(
      "%s, on %s. Preset %s, residual weight %g,\nlayers %d to %d of %d; attention metrics "
      "of layer %d.\n",
      source, Printable(admitted.device), PresetName(options.preset), options.residual_weight,
      options.start_layer, options.end_layer, admitted.num_layers, options.layer_idx);
}

std::string MetricsTable(const Reply& reply, int width) {
  std::vector<Table::Column> columns = {{"metric"}, {"batch"}};
  for (size_t i = 0; i < reply.result.sequences.size(); ++i)
    columns.push_back({absl::StrCat("sequence ", i)});
  Table table(std::move(columns));
  for (const MetricRow& row : MetricRows()) {
    std::vector<std::string> cells = {row.name, row.text(reply.result.metrics)};
    for (const Metrics& metrics : reply.result.sequences) cells.push_back(row.text(metrics));
    table.AddRow(std::move(cells));
  }
  return table.Render(width);
}

std::string LayersTable(const std::vector<LayerMetrics>& layers, int width) {
  Table table(
      {{"layer"}, {"mean"}, {"max"}, {"entropy"}, {"concentration"}, {"module", Table::Align::kLeft}});
  for (const LayerMetrics& layer : layers) {
    table.AddRow({absl::StrCat(layer.layer_idx), FormatValue(layer.mean_attention),
                  FormatValue(layer.max_attention), FormatValue(layer.attention_entropy),
                  FormatValue(layer.attention_concentration), layer.module_path});
  }
  return table.Render(width);
}

std::string TopCellsTable(const Reply& reply, int sequence, const std::vector<Cell>& cells, int width) {
  int length = 0;
  if (static_cast<size_t>(sequence) < reply.result.sequences.size()) {
    length = static_cast<int>(reply.result.sequences[static_cast<size_t>(sequence)].seq_length);
  }
  const std::vector<std::string> labels = TokenLabels(reply, sequence, length);
  const auto label = [&labels](int position) {
    return position >= 0 && position < static_cast<int>(labels.size())
               ? absl::StrCat(position, " ", labels[static_cast<size_t>(position)])
               : absl::StrCat(position);
  };
  Table table({{"query"}, {"attended to", Table::Align::kLeft}, {"rollout"}});
  for (const Cell& cell : cells) table.AddRow({label(cell.row), label(cell.column), FormatValue(cell.value)});
  return table.Render(width);
}

std::string Costs(const Reply& reply) {
  const AttributionResult& result = reply.result;
  std::string text = absl::StrFormat(
      "Time    %s waiting, %s forward, %s in all; %d chunk(s)\n"
      "Memory  peak %s measured, %s estimated; %s of it for attention\n",
      FormatSeconds(result.queue_seconds), FormatSeconds(result.forward_seconds),
      FormatSeconds(result.total_seconds), result.num_chunks, FormatBytes(result.measured_peak_bytes),
      FormatBytes(reply.admitted.estimated_peak_bytes), FormatBytes(result.measured_attention_bytes));
  if (result.oom_retries > 0)
    absl::StrAppend(&text, "        ", result.oom_retries, " retries after out-of-memory\n");
  return text;
}

std::string Heading(const Reply& reply, const char* what, int sequence, int width) {
  const std::string start = absl::StrCat("\n", what, " of sequence ", sequence, ": ");
  return absl::StrCat(start, TitleOf(reply, sequence, width - static_cast<int>(start.size())), "\n");
}

}  // namespace

std::string QueryReport(const Reply& reply, bool with_rollout, const Terminal& terminal) {
  std::string text = absl::StrCat(Summary(reply), "\n", MetricsTable(reply, terminal.width));
  if (!reply.result.layers.empty()) {
    absl::StrAppend(&text, "\nAttention of each layer, over the batch\n",
                    LayersTable(reply.result.layers, terminal.width));
  }
  for (const auto& [sequence, cells] : reply.top_cells) {
    absl::StrAppend(&text, Heading(reply, "Largest cells", sequence, terminal.width),
                    TopCellsTable(reply, sequence, cells, terminal.width));
  }
  if (with_rollout) {
    for (const auto& [sequence, rollout] : reply.rollouts) {
      if (rollout.rows.empty() || rollout.columns == 0) continue;
      absl::StrAppend(&text, Heading(reply, "Rollout", sequence, terminal.width), kReading,
                      DrawHeatMap(RolloutOf(reply, sequence), terminal));
    }
  }
  return absl::StrCat(text, "\n", Costs(reply));
}

}  // namespace attribution::cli
