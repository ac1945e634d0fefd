// Writes replies and models as JSON: stable names in snake case, null for what is absent, never NaN.
#ifndef ATTRIBUTION_CLIENT_CLI_JSON_OUTPUT_H_
#define ATTRIBUTION_CLIENT_CLI_JSON_OUTPUT_H_

#include <string>
#include <vector>

#include "attribution/estimate.h"
#include "attribution/model_info.h"
#include "client/cli/reply.h"

namespace attribution::cli {

// Returns an object of the reply, ending in a newline; docs/cli.md describes it. `with_rollout` false leaves
// the matrices out. A reply without a model, that of a rollout, has none of the model's keys.
std::string JsonOfReply(const Reply& reply, bool with_rollout);

// Returns an object of a shape and what admission would decide about it.
std::string JsonOfEstimate(const EstimateRequest& request, const AdmissionEstimate& estimate);

// Returns an object with a list `models`.
std::string JsonOfModels(const std::vector<ModelInfo>& models);

// Returns an object of one model.
std::string JsonOfModel(const ModelInfo& model);

// Returns an object of a service's health.
std::string JsonOfHealth(const std::string& service, const std::string& state);

// Returns the name of a state: `loading`, `serving`, `failed`, `unloaded`.
std::string StateName(ModelState state);

// Returns "blocked", "tapped" or "returned".
std::string SiteKindName(SiteKind kind);

// Returns "full_matrix" or "selected_rows".
std::string RolloutMethodName(RolloutMethod method);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_JSON_OUTPUT_H_
