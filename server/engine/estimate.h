// Answers what admission would decide about a shape.
#ifndef SERVER_ENGINE_ESTIMATE_H_
#define SERVER_ENGINE_ESTIMATE_H_

#include "absl/status/statusor.h"
#include "attribution/estimate.h"
#include "server/admission/admission_controller.h"
#include "server/admission/memory_budget.h"
#include "server/engine/attribution_job.h"

namespace attribution::engine {

// Checks the request like one that would run, on made-up inputs of its shape, and plans it by what is free
// now, or, if it does not fit now, by the whole budget. What never fits has the plan of one sequence at a
// time. Errors as those of a request that runs.
absl::StatusOr<AdmissionEstimate> EstimateAdmission(const JobServices& services,
                                                    const admission::MemoryBudget& budget,
                                                    EstimateRequest request);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_ESTIMATE_H_
