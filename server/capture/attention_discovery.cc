#include "server/capture/attention_discovery.h"

#include <re2/re2.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "absl/strings/str_cat.h"
#include "server/capture/graph_plan.h"
#include "server/capture/recording_observer.h"
#include "server/capture/rewrite_attention.h"

namespace attribution::capture {
namespace {

// What one candidate did in one run.
struct Sighting {
  int32_t executions = 0;
  int64_t heads = 0;
  std::optional<LayerShape> foreign;  // a shape that is not the batch's own
  bool rows_sum_to_one = true;        // NaN is for the self-check to name
};

std::vector<Sighting> SightingsOf(const RecordingObserver& observer, size_t candidates,
                                  const WarmUpBatch& batch) {
  std::vector<Sighting> sightings(candidates);
  for (const RecordedLayer& layer : observer.layers()) {
    Sighting& sighting = sightings[layer.shape.site];
    ++sighting.executions;
    sighting.heads = layer.shape.heads;
    if (layer.shape.batch != batch.valid.size(0) || layer.shape.length != batch.valid.size(1)) {
      sighting.foreign = layer.shape;
    }
    if (std::isfinite(layer.row_sum_error) && layer.row_sum_error > layer.row_sum_tolerance()) {
      sighting.rows_sum_to_one = false;
    }
  }
  return sightings;
}

// Why a candidate is no site; empty if it is one.
std::string ReasonToSkip(const Candidate& candidate, const std::vector<Sighting>& sightings,
                         const RE2& pattern) {
  for (const Sighting& sighting : sightings) {
    if (sighting.executions == 0) {
      return !candidate.fused
                 ? "its values are not square [B, H, S, S] matrices, or it did not run"
                 : "queries and keys differ in length (cross attention or a key-value prefix), or it did not "
                   "run";
    }
    if (sighting.foreign.has_value()) {
      return absl::StrCat("it is over ", sighting.foreign->batch, " x ", sighting.foreign->length,
                          " positions, not over the sequences of the input");
    }
    if (!candidate.fused && !sighting.rows_sum_to_one) return "its rows do not sum to 1";
    if (sighting.executions != sightings.front().executions) return "how often it runs depends on the input";
  }
  if (!RE2::PartialMatch(candidate.module_path, pattern))
    return "the manifest's attention_layer_pattern does not match";
  return "";
}

std::string NameOf(const Candidate& candidate, size_t index) {
  return candidate.module_path.empty() ? absl::StrCat("site.", index) : candidate.module_path;
}

}  // namespace

absl::StatusOr<DiscoveredAttention> DiscoverAttention(const torch::jit::Module& module,
                                                      const InlinedGraph& inlined,
                                                      const std::vector<WarmUpBatch>& batches,
                                                      const std::string& pattern) {
  const RE2 expression(pattern, RE2::Quiet);
  if (!expression.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "The manifest's attention_layer_pattern does not compile. RE2 says: ", expression.error(), " in \"",
        pattern, "\". Mend the expression."));
  }
  const size_t count = inlined.candidates.size();
  std::vector<int32_t> every(count);
  std::iota(every.begin(), every.end(), 0);
  const auto graph = inlined.graph->copy();
  RewriteAttention(*graph, every, inlined.EagerInBlocks());
  const GraphPlan plan(graph, "attention_discovery");

  std::vector<std::vector<Sighting>> sightings(count);  // of each candidate, in each batch
  std::vector<RecordedLayer> last_run;
  for (const WarmUpBatch& batch : batches) {
    RecordingObserver observer(batch.valid);
    torch::jit::Stack stack{module._ivalue()};
    stack.insert(stack.end(), batch.inputs.begin(), batch.inputs.end());
    const auto outputs = plan.Run(std::move(stack), &observer);
    if (!outputs.ok()) return outputs.status();
    const std::vector<Sighting> seen = SightingsOf(observer, count, batch);
    for (size_t i = 0; i < count; ++i) sightings[i].push_back(seen[i]);
    last_run = observer.layers();
  }

  DiscoveredAttention result;
  for (size_t i = 0; i < count; ++i) {
    const Candidate& candidate = inlined.candidates[i];
    const std::string reason = ReasonToSkip(candidate, sightings[i], expression);
    if (!reason.empty()) {
      result.site_of.push_back(kNotASite);
      result.skipped.push_back({absl::StrCat(NameOf(candidate, i), " ", candidate.operator_name), reason});
      continue;
    }
    const auto site = static_cast<int32_t>(result.sites.size());
    const auto heads = static_cast<int32_t>(sightings[i].front().heads);
    result.site_of.push_back(site);
    result.sites.push_back(
        {site, candidate.module_path.empty() ? absl::StrCat("site.", site) : candidate.module_path,
         candidate.kind, candidate.operator_name, sightings[i].front().executions, candidate.tap_reason});
    result.site_heads.push_back(heads);
  }
  for (const RecordedLayer& layer : last_run) {
    const int32_t site = result.site_of[layer.shape.site];
    if (site != kNotASite) result.execution_order.push_back(site);
  }
  return result;
}

}  // namespace attribution::capture
