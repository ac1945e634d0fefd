// What rollouts of attention that callers send use of the engine: its queue, its workers, its memory.
//
// Thread-safe.
#ifndef SERVER_ENGINE_ROLLOUT_HOST_H_
#define SERVER_ENGINE_ROLLOUT_HOST_H_

#include "server/engine/attribution_job.h"
#include "server/engine/rollout_job.h"

namespace attribution::engine {

class EngineRolloutHost final : public RolloutHost {
 public:
  // `services` and `ledger` outlive the host. Rollouts are folded on `device`.
  EngineRolloutHost(const JobServices& services, memory::Ledger& ledger, c10::Device device)
      : services_(services), ledger_(ledger), device_(device) {}

  void Check(std::function<void()> step) override { services_.intake.Submit(std::move(step)); }
  admission::Ticket Admit(int64_t estimated_bytes, const CallContext& context,
                          std::function<void(absl::StatusOr<Lease>)> done) override;
  admission::Ticket RunOnWorker(const CallContext& context, std::function<void()> step,
                                std::function<void(const absl::Status&)> afterwards) override;
  void CancelTicket(admission::Ticket ticket, const absl::Status& reason) override {
    services_.admission.Cancel(ticket, reason);
  }
  absl::Time Now() const override { return services_.now(); }
  c10::Device device() const override { return device_; }
  const RequestLimits& limits() const override { return services_.limits; }
  telemetry::Metrics& metrics() override { return services_.metrics; }
  memory::Ledger* ledger() override { return &ledger_; }
  void OnFinished(const AttributionCall* job) override { services_.on_finished(job); }

 private:
  const JobServices& services_;
  memory::Ledger& ledger_;
  const c10::Device device_;
};

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_ROLLOUT_HOST_H_
