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
      absl::StrAppend(&sentence, " ", skipped.name, ": ", skipped.reason, ".");
    }
  } else {
    absl::StrAppend(&sentence, "The graph of \"", model, "\" holds ", description.sites.size(),
                    " attention sites (", SomePaths(description.sites), "), none matched \"", pattern,
                    "\". Leave attention_layer_pattern empty.");
  }
  absl::StrAppend(&sentence, " See \"attribution models show ", model, "\".");
  return WithReason(absl::FailedPreconditionError(sentence), "NO_ATTENTION_CAPTURED");
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
  for (const AttentionSite& site : description.sites) {
    selected.push_back(RE2::PartialMatch(site.module_path, expression));
  }
  std::vector<int32_t> site_of_layer;
  for (const int32_t site : description.execution_order) {
    if (selected[site]) site_of_layer.push_back(site);
  }
  if (site_of_layer.empty()) return NothingCaptured(description, pattern, model);
  return LayerSelection(std::move(selected), std::move(site_of_layer));
}

}  // namespace attribution::engine
