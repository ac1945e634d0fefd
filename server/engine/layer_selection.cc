#include "server/engine/layer_selection.h"

#include <re2/re2.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"

namespace attribution::engine {
namespace {

// Names a few of the sites, so that the reader sees what a pattern could match.
std::string SomePaths(const std::vector<AttentionSite>& sites) {
  constexpr size_t kShown = 4;
  std::string text;
  for (size_t i = 0; i < std::min(kShown, sites.size()); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : ", ", "\"", sites[i].module_path, "\"");
  }
  if (sites.size() > kShown) text += ", …";
  return text;
}

absl::Status NothingCaptured(const capture::ModelDescription& description, const std::string& pattern,
                             const std::string& model) {
  std::string sentence = absl::StrCat("No attention weights captured. ");
  if (description.sites.empty()) {
    absl::StrAppend(&sentence, "The graph of \"", model, "\" holds no self-attention; ",
                    description.skipped.size(), " places that looked like it were skipped.");
    for (const SkippedSite& skipped : description.skipped) {
      absl::StrAppend(&sentence, " ", skipped.name, skipped.source.empty() ? "" : " at ", skipped.source,
                      ": ", skipped.reason, ".");
    }
  } else {
    absl::StrAppend(&sentence, "The graph of \"", model, "\" holds ", description.sites.size(),
                    " attention sites (", SomePaths(description.sites), "), none matched \"", pattern,
                    "\". Leave attention_layer_pattern empty.");
  }
  absl::StrAppend(&sentence, " See \"attribution models show ", model, "\".");
  return WithReason(absl::FailedPreconditionError(sentence), "NO_ATTENTION_CAPTURED");
}

// Positions of encoder and decoder are not the same ones, so their layers must not be multiplied.
absl::Status CheckGroups(const std::vector<AttentionSite>& sites, const std::vector<bool>& selected) {
  const AttentionSite* first = nullptr;
  for (size_t i = 0; i < sites.size(); ++i) {
    if (!selected[i]) continue;
    if (first == nullptr) first = &sites[i];
    if (sites[i].group == first->group) continue;
    return InvalidField(
        "options.attention_layer_pattern",
        absl::StrCat("The layers belong to two groups, which have no rollout together. \"",
                     first->module_path, "\" is of the ", first->group, ", \"", sites[i].module_path,
                     "\" of the ", sites[i].group, ". Choose one group by attention_layer_pattern."));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LayerSelection> LayerSelection::Make(const capture::ModelDescription& description,
                                                    const std::string& pattern, const std::string& model) {
  constexpr size_t kLongestPattern = 1024;  // bytes
  if (pattern.size() > kLongestPattern) {
    return InvalidField(
        "options.attention_layer_pattern",
        absl::StrCat("attention_layer_pattern is too long. It has ", pattern.size(), " bytes; at most ",
                     kLongestPattern, " are taken. Shorten the expression."));
  }
  const RE2 expression(pattern, RE2::Quiet);
  if (!expression.ok()) {
    return InvalidField(
        "options.attention_layer_pattern",
        absl::StrCat("attention_layer_pattern does not compile. RE2 says: ", expression.error(), " in \"",
                     pattern, "\". Mend the expression, or leave it empty."));
  }
  std::vector<bool> selected;
  selected.reserve(description.sites.size());
  for (const AttentionSite& site : description.sites) {
    selected.push_back(RE2::PartialMatch(site.module_path, expression));
  }
  if (absl::Status status = CheckGroups(description.sites, selected); !status.ok()) return status;
  LayerSelection selection(std::move(selected), description.execution_order);
  if (selection.size() == 0) return NothingCaptured(description, pattern, model);
  return selection;
}

LayerSelection::LayerSelection(std::vector<bool> selected, std::vector<int32_t> execution_order)
    : selected_(std::move(selected)), execution_order_(std::move(execution_order)) {
  for (const int32_t site : execution_order_) {
    if (selected_[site]) site_of_layer_.push_back(site);
  }
}

LayerSelection LayerSelection::InRun(std::vector<int32_t> order) const {
  return {selected_, std::move(order)};
}

}  // namespace attribution::engine
