#include "server/capture/attention_discovery.h"

#include <re2/re2.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/capture/graph_plan.h"
#include "server/capture/recording_observer.h"
#include "server/capture/rewrite_attention.h"

namespace attribution::capture {
namespace {

// What one candidate did in one run.
struct Sighting {
  int32_t executions = 0;
  int64_t heads = 0;
  int64_t folded_heads = 1;  // of a sequence, if batch and heads are one dimension
  int64_t input_length = 0;
  int64_t length = 0;
  std::optional<LayerShape> foreign;  // a shape that is not the batch's own
  std::vector<int64_t> other_sizes;   // of what it computed, if that is not attention
  bool rows_sum_to_one = true;        // NaN is for the self-check to name
};

std::vector<Sighting> SightingsOf(const RecordingObserver& observer, size_t candidates,
                                  const WarmUpBatch& batch) {
  std::vector<Sighting> sightings(candidates);
  const int64_t sequences = batch.valid.size(0);
  for (const RecordedLayer& layer : observer.layers()) {
    const LayerShape& shape = layer.shape;
    Sighting& sighting = sightings[shape.site];
    ++sighting.executions;
    sighting.heads = shape.heads;
    if (shape.folded && shape.batch % sequences == 0) sighting.folded_heads = shape.batch / sequences;
    const bool other_length = batch.any_length ? sighting.executions > 1 && shape.length != sighting.length
                                               : shape.length != batch.valid.size(1);
    if (shape.batch != sequences * sighting.folded_heads || other_length) sighting.foreign = shape;
    sighting.length = shape.length;
    sighting.input_length = batch.valid.size(1);
    if (std::isfinite(layer.row_sum_error) && layer.row_sum_error > layer.row_sum_tolerance()) {
      sighting.rows_sum_to_one = false;
    }
  }
  for (const auto& [site, sizes] : observer.other_shapes()) sightings[site].other_sizes = sizes;
  return sightings;
}

std::string SizesText(const std::vector<int64_t>& sizes) {
  return absl::StrCat("[", absl::StrJoin(sizes, ", "), "]");
}

// Why something that ran, but not as attention over whole sequences, is no site.
std::string ReasonOf(const Candidate& candidate, const std::vector<int64_t>& sizes) {
  const std::string text = SizesText(sizes);
  if (candidate.relation.relation == Relation::kCross) {
    return absl::StrCat("it is cross attention: its ", text,
                        " probabilities relate queries to keys of another sequence");
  }
  const bool is_product = candidate.fused || candidate.relation.relation == Relation::kSelf;
  if (is_product && sizes.size() >= 3 && sizes.back() > sizes[sizes.size() - 2]) {
    return absl::StrCat("its keys are more than its queries, ", text,
                        ": it reads a key-value prefix or a cache");
  }
  if (is_product) return absl::StrCat("its probabilities ", text, " are not square [B, H, S, S] matrices");
  return absl::StrCat("it is no attention: a softmax over ", sizes.empty() ? 0 : sizes.back(),
                      " values, such as a gate's or a classifier's, of ", text);
}

// How the length of a candidate follows that of the input; the batches in which it did not run do not tell.
std::optional<LengthRule> RuleOf(const std::vector<Sighting>& sightings) {
  std::vector<std::pair<int64_t, int64_t>> seen;
  for (const Sighting& sighting : sightings) {
    if (sighting.executions > 0) seen.emplace_back(sighting.input_length, sighting.length);
  }
  return FindLengthRule(seen);
}

// The run in which a candidate ran most often.
const Sighting& Running(const std::vector<Sighting>& sightings) {
  return *std::max_element(sightings.begin(), sightings.end(),
                           [](const Sighting& a, const Sighting& b) { return a.executions < b.executions; });
}

// Why a candidate is no site; empty if it is one. `cross_counts`: whether cross attention is told apart.
std::string ReasonToSkip(const Candidate& candidate, const std::vector<Sighting>& sightings,
                         const RE2& pattern, bool cross_counts) {
  bool ran = false;
  for (const Sighting& sighting : sightings) {
    if (!sighting.other_sizes.empty()) return ReasonOf(candidate, sighting.other_sizes);
    if (sighting.foreign.has_value()) {
      return absl::StrCat("it is over ", sighting.foreign->batch, " x ", sighting.foreign->length,
                          " positions, not over the sequences of the input");
    }
    if (!candidate.fused && !sighting.rows_sum_to_one) return "its rows do not sum to 1";
    if (sighting.executions > 0 && sighting.folded_heads != Running(sightings).folded_heads) {
      return "batch and heads are one dimension that does not grow with the batch";
    }
    ran = ran || sighting.executions > 0;
  }
  if (!ran) return "it did not run on the inputs that were tried";
  if (!RuleOf(sightings).has_value()) return "its length does not follow the input's";
  if (cross_counts && candidate.relation.relation == Relation::kCross) {
    return "it is cross attention: its keys are made of another sequence than its queries";
  }
  if (!RE2::PartialMatch(candidate.module_path, pattern))
    return "the manifest's attention_layer_pattern does not match";
  return "";
}

std::string NameOf(const Candidate& candidate, size_t index) {
  return candidate.module_path.empty() ? absl::StrCat("site.", index) : candidate.module_path;
}

// Reasons to skip, one a candidate. Reading streams out of a graph may go wrong on a graph nobody foresaw; if
// it would leave no attention at all, it is not listened to.
std::vector<std::string> ReasonsToSkip(const std::vector<Candidate>& candidates,
                                       const std::vector<std::vector<Sighting>>& sightings,
                                       const RE2& pattern) {
  for (const bool cross_counts : {true, false}) {
    std::vector<std::string> reasons;
    reasons.reserve(candidates.size());
    for (size_t i = 0; i < candidates.size(); ++i) {
      reasons.push_back(ReasonToSkip(candidates[i], sightings[i], pattern, cross_counts));
    }
    const bool any =
        std::any_of(reasons.begin(), reasons.end(), [](const std::string& reason) { return reason.empty(); });
    if (any || !cross_counts) return reasons;
  }
  return {};
}

bool NeverSeen(const std::vector<Sighting>& sightings) {
  return std::all_of(sightings.begin(), sightings.end(), [](const Sighting& sighting) {
    return sighting.executions == 0 && sighting.other_sizes.empty();
  });
}

// Fills in the order of the sites from those of all candidates.
void TakeOrder(const std::vector<std::vector<int32_t>>& orders, DiscoveredAttention& found) {
  for (const std::vector<int32_t>& candidates : orders) {
    std::vector<int32_t>& order = found.runs.emplace_back();
    for (const int32_t candidate : candidates) {
      const int32_t site = found.site_of[candidate];
      if (site != kNotASite) order.push_back(site);
    }
    if (order != found.runs.front()) found.depends_on_input = true;
    if (order.size() > found.execution_order.size()) found.execution_order = order;
  }
}

// Which candidates make the memory that some cross attention reads.
std::vector<bool> InMemory(const std::vector<Candidate>& candidates, const std::vector<int32_t>& site_of) {
  std::vector<bool> in_memory(candidates.size(), false);
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (site_of[i] != kNotASite || candidates[i].relation.relation != Relation::kCross) continue;
    for (const size_t other : candidates[i].relation.memory) in_memory[other] = true;
  }
  return in_memory;
}

// Names the two streams of an encoder-decoder model, if it is one: what cross attention reads, and the rest.
void NameGroups(const std::vector<Candidate>& candidates, DiscoveredAttention& found) {
  const std::vector<bool> in_memory = InMemory(candidates, found.site_of);
  if (std::find(in_memory.begin(), in_memory.end(), true) == in_memory.end()) return;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const int32_t site = found.site_of[i];
    if (site == kNotASite || site >= static_cast<int32_t>(found.sites.size())) continue;
    found.sites[site].group = in_memory[i] ? "encoder" : "decoder";
  }
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
  std::vector<std::vector<int32_t>> orders;             // of candidates, in each batch
  for (const WarmUpBatch& batch : batches) {
    RecordingObserver observer(batch.valid, batch.any_length);
    torch::jit::Stack stack{module._ivalue()};
    stack.insert(stack.end(), batch.inputs.begin(), batch.inputs.end());
    const auto outputs = plan.Run(std::move(stack), &observer);
    if (!outputs.ok()) return outputs.status();
    const std::vector<Sighting> seen = SightingsOf(observer, count, batch);
    for (size_t i = 0; i < count; ++i) sightings[i].push_back(seen[i]);
    std::vector<int32_t>& order = orders.emplace_back();
    for (const RecordedLayer& layer : observer.layers()) order.push_back(layer.shape.site);
  }

  DiscoveredAttention result;
  result.site_of.assign(count, kNotASite);
  result.folded_heads.assign(count, 1);
  const std::vector<std::string> reasons = ReasonsToSkip(inlined.candidates, sightings, expression);
  std::vector<size_t> unseen;
  for (size_t i = 0; i < count; ++i) {
    const Candidate& candidate = inlined.candidates[i];
    if (!reasons[i].empty()) {
      result.skipped.push_back(
          {absl::StrCat(NameOf(candidate, i), " ", candidate.operator_name), reasons[i], candidate.source});
      if (candidate.conditional && NeverSeen(sightings[i])) unseen.push_back(i);
      continue;
    }
    const Sighting& sighting = Running(sightings[i]);
    AttentionSite& site = result.sites.emplace_back();
    site.index = static_cast<int32_t>(result.sites.size()) - 1;
    site.module_path =
        candidate.module_path.empty() ? absl::StrCat("site.", site.index) : candidate.module_path;
    site.kind = candidate.kind;
    site.operator_name = candidate.operator_name;
    site.executions = sighting.executions;
    site.tap_reason = candidate.tap_reason;
    site.source = candidate.source;
    result.site_of[i] = site.index;
    result.depends_on_input = result.depends_on_input || candidate.loops_by_input;
    result.folded_heads[i] = static_cast<int32_t>(sighting.folded_heads);
    const bool own_length = !batches.empty() && !batches.front().any_length;
    result.site_lengths.push_back(own_length ? LengthRule{} : *RuleOf(sightings[i]));
    result.site_heads.push_back(static_cast<int32_t>(sighting.heads * sighting.folded_heads));
  }
  NameGroups(inlined.candidates, result);
  auto beyond = static_cast<int32_t>(result.sites.size());
  for (const size_t i : unseen) result.site_of[i] = beyond++;
  TakeOrder(orders, result);
  return result;
}

}  // namespace attribution::capture
