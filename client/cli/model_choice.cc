#include "client/cli/model_choice.h"

#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/cli/errors.h"

namespace attribution::cli {

ModelName SplitModel(const std::string& text) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
  return {parts.first, parts.second};
}

absl::StatusOr<std::string> OnlyModel(Client& client) {
  const absl::StatusOr<std::vector<ModelInfo>> models = client.ListModels();
  if (!models.ok()) return models.status();
  std::set<std::string> names;
  for (const ModelInfo& model : *models) names.insert(model.name);
  if (names.size() == 1) return *names.begin();
  if (names.empty())
    return absl::FailedPreconditionError("The server has no model. Put one into its model repository.");
  return UsageError(absl::StrCat("The server has several models: ", absl::StrJoin(names, ", "),
                                 ". Choose one with --model."));
}

}  // namespace attribution::cli
