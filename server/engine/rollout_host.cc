#include "server/engine/rollout_host.h"

#include <utility>

namespace attribution::engine {
namespace {

// A plan of one chunk with this estimate, whatever else admission counts for it.
admission::PlanRequest PlanWithEstimate(int64_t estimated_bytes) {
  admission::PlanRequest plan;
  plan.lengths = {1};
  plan.cost.block_rows = 0;
  plan.cost.ranges = {{}};
  const int64_t counted = admission::PredictPeakBytes(plan.cost, {1, 1}, plan.output);
  plan.cost.ranges[0].forward.fixed_bytes = static_cast<double>(estimated_bytes - counted);
  return plan;
}

}  // namespace

admission::Ticket EngineRolloutHost::Admit(int64_t estimated_bytes, const CallContext& context,
                                           std::function<void(absl::StatusOr<Lease>)> done) {
  admission::AdmissionRequest request;
  request.plan = PlanWithEstimate(estimated_bytes);
  request.deadline = context.deadline;
  request.priority = context.priority;
  request.client = context.client;
  request.done = [done = std::move(done)](absl::StatusOr<admission::Grant> grant) {
    if (!grant.ok()) return done(grant.status());
    grant->start->turn.End();  // memory alone is wanted until pieces come
    done(Lease{std::move(grant->reservation), grant->waited});
  };
  return services_.admission.Submit(std::move(request));
}

admission::Ticket EngineRolloutHost::RunOnWorker(const CallContext& context, std::function<void()> step,
                                                 std::function<void(const absl::Status&)> afterwards) {
  admission::TurnRequest request;
  request.deadline = context.deadline;
  request.priority = context.priority;
  request.client = context.client;
  request.done = [this, step = std::move(step), afterwards = std::move(afterwards)](
                     absl::StatusOr<std::shared_ptr<admission::Start>> start) {
    if (!start.ok()) return afterwards(start.status());
    services_.workers.Submit(step, [start = *start, afterwards] {
      start->turn.End();
      afterwards(absl::OkStatus());
    });
  };
  return services_.admission.Continue(std::move(request));
}

}  // namespace attribution::engine
