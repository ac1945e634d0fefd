// FoldRules says how a preset multiplies layers together: the differences between presets in one table.
//
// Pure function; any thread. The formulas and where they come from are in docs/rollout.md.
#ifndef SERVER_ROLLOUT_FOLD_RULES_H_
#define SERVER_ROLLOUT_FOLD_RULES_H_

#include "attribution/options.h"
#include "server/rollout/residual.h"

namespace attribution::rollout {

struct FoldRules {
  bool later_layer_on_the_right = false;  // R <- R · Ã_l rather than R <- Ã_l · R
  bool first_layer_raw = false;           // R begins with A, without residual and normalisation
  Normalization normalization = Normalization::kRows;
};

// Returns the rules of `preset`. A number that is no preset has those of kAbnar2020.
inline FoldRules RulesOf(Preset preset) {
  switch (preset) {
    case Preset::kIclrMetrics:
      return {/*later_layer_on_the_right=*/true, /*first_layer_raw=*/true, Normalization::kRows};
    case Preset::kVitExplain:
      return {false, false, Normalization::kColumnsByRowSums};
    case Preset::kAbnar2020:
    case Preset::kChefer2021:
    case Preset::kVitExplainFixed:
      break;
  }
  return {};
}

// Returns whether a block of rows of Ã_l can be made and multiplied before the rest of the layer is there.
// Discarding and dividing columns need the whole layer first, and so does multiplying from the right.
inline bool FoldsRowByRow(const ResolvedOptions& options) {
  const FoldRules rules = RulesOf(options.preset);
  return !rules.later_layer_on_the_right && rules.normalization == Normalization::kRows &&
         options.discard_ratio == 0.0;
}

// Returns whether chosen rows of the rollout can be had without the rest of it. From the left the layers are
// kept, and whatever needs a whole layer is done there; from the right no layer is, so nothing may need one.
inline bool FoldsRowsAlone(const ResolvedOptions& options) {
  return !RulesOf(options.preset).later_layer_on_the_right || options.discard_ratio == 0.0;
}

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_FOLD_RULES_H_
