#include "client/cli/html_page.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/format.h"
#include "client/cli/metric_rows.h"

namespace attribution::cli {
namespace {

// The policy forbids the page to load or run anything, whatever is in it.
constexpr char kHead[] = R"html(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Attention rollout</title>
<style>
:root { --back: #fff; --text: #1c2330; --soft: #5c6675; --line: #d8dde5; --heat: 24 74 165; --on-hot: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --back: #12161d; --text: #e6e9ee; --soft: #9aa5b5; --line: #2c3440; --heat: 250 190 70; --on-hot: #12161d; }
}
body { background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { color: var(--soft); margin: .25rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
table.numbers th, table.numbers td { border-bottom: 1px solid var(--line); padding: .25rem .75rem; text-align: right; }
table.numbers th:first-child, table.numbers td.name { text-align: left; font-weight: normal; }
table.numbers thead th { color: var(--soft); font-weight: 600; }
table.heat { border-spacing: 2px; border-collapse: separate; }
table.heat th { font-weight: normal; font-size: .85rem; white-space: nowrap; }
table.heat tbody th { text-align: right; padding-right: .5rem; }
table.heat thead th { vertical-align: bottom; padding-bottom: .25rem; }
table.heat thead span { writing-mode: vertical-rl; transform: rotate(180deg); }
table.heat tbody td { background: rgb(var(--heat) / var(--v)); border-radius: 3px; font-size: .75rem; height: 2rem;
  min-width: 2.6rem; text-align: center; }
table.heat td.hot { color: var(--on-hot); }
table.small { border-spacing: 0; }
table.small tbody td { border-radius: 0; height: .8rem; min-width: .8rem; }
table.small th { font-size: .6rem; line-height: 1; }
.scale span { background: linear-gradient(90deg, rgb(var(--heat) / 0), rgb(var(--heat) / 1)); border: 1px solid var(--line);
  display: inline-block; height: .7rem; width: 10rem; }
</style>
</head>
<body>
)html";

std::string MetricsTable(const Reply& reply) {
  std::string html =
      "<div class=\"scroll\"><table class=\"numbers\">\n<thead><tr><th scope=\"col\">metric</th>"
      "<th scope=\"col\">batch</th>";
  for (size_t i = 0; i < reply.result.sequences.size(); ++i) {
    absl::StrAppend(&html, "<th scope=\"col\">sequence ", i, "</th>");
  }
  html += "</tr></thead>\n<tbody>\n";
  for (const MetricRow& row : MetricRows()) {
    absl::StrAppend(&html, "<tr><th scope=\"row\">", row.name, "</th><td>", row.text(reply.result.metrics),
                    "</td>");
    for (const Metrics& metrics : reply.result.sequences)
      absl::StrAppend(&html, "<td>", row.text(metrics), "</td>");
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string LayersTable(const std::vector<LayerMetrics>& layers) {
  std::string html =
      "<h2>Layers</h2>\n<div class=\"scroll\"><table class=\"numbers\">\n<thead><tr><th "
      "scope=\"col\">layer</th>"
      "<th scope=\"col\">module</th><th scope=\"col\">mean</th><th scope=\"col\">max</th><th "
      "scope=\"col\">entropy</th>"
      "<th scope=\"col\">concentration</th></tr></thead>\n<tbody>\n";
  for (const LayerMetrics& layer : layers) {
    absl::StrAppend(&html, "<tr><th scope=\"row\">", layer.layer_idx, "</th><td class=\"name\">",
                    EscapeHtml(layer.module_path), "</td><td>", FormatValue(layer.mean_attention),
                    "</td><td>", FormatValue(layer.max_attention), "</td><td>",
                    FormatValue(layer.attention_entropy), "</td><td>",
                    FormatValue(layer.attention_concentration), "</td></tr>\n");
  }
  return html + "</tbody></table></div>\n";
}

std::string Summary(const Reply& reply) {
  const ResolvedOptions& options = reply.admitted.options;
  return absl::StrFormat(
      "<h1>Attention rollout</h1>\n<p>Model %s, version %s, on %s. Preset %s, residual weight %g, layers %d "
      "to %d; attention "
      "statistics of layer %d.</p>\n",
      EscapeHtml(reply.model), EscapeHtml(reply.admitted.model_version), EscapeHtml(reply.admitted.device),
      PresetName(options.preset), options.residual_weight, options.start_layer, options.end_layer,
      options.layer_idx);
}

std::string Costs(const Reply& reply) {
  const AttributionResult& result = reply.result;
  return absl::StrFormat(
      "<h2>Cost</h2>\n<p>Time: %s waiting, %s forward, %s in all. Peak memory above the model: %s measured, "
      "%s "
      "estimated.</p>\n",
      FormatSeconds(result.queue_seconds), FormatSeconds(result.forward_seconds),
      FormatSeconds(result.total_seconds), FormatBytes(result.measured_peak_bytes),
      FormatBytes(reply.admitted.estimated_peak_bytes));
}

}  // namespace

std::string HtmlPage(const Reply& reply) {
  std::string html = absl::StrCat(kHead, Summary(reply));
  for (const auto& [sequence, rollout] : reply.rollouts) {
    if (rollout.rows.empty()) continue;
    absl::StrAppend(&html, "<h2>Sequence ", sequence, ": ", EscapeHtml(TitleOf(reply, sequence, 200)),
                    "</h2>\n", HtmlHeatMap(RolloutOf(reply, sequence)));
  }
  absl::StrAppend(&html, "<h2>Metrics</h2>\n", MetricsTable(reply));
  if (!reply.result.layers.empty()) html += LayersTable(reply.result.layers);
  return absl::StrCat(html, Costs(reply), "</body>\n</html>\n");
}

}  // namespace attribution::cli
