#include "server/engine/job_telemetry.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/telemetry/label_values.h"
#include "server/telemetry/logging.h"

namespace attribution::engine {

using telemetry::MetricId;

namespace {

// Bounds what a client can make the log hold, in bytes a value. The model's own errors may be longer.
constexpr size_t kLongestLogged = 256;
constexpr size_t kLongestDetail = 16 << 10;

std::string ErrorForLog(const absl::Status& status) {
  const std::optional<std::string> detail = LogDetailOf(status);
  return detail.has_value() ? detail->substr(0, kLongestDetail)
                            : std::string(status.message()).substr(0, kLongestLogged);
}

}  // namespace

void RecordAdmission(telemetry::Metrics& metrics, const admission::Grant& grant,
                     absl::Duration since_arrival) {
  metrics.Observe(MetricId::kAdmissionEstimatedBytes, {},
                  static_cast<double>(grant.plan.estimated_peak_bytes));
  metrics.Observe(MetricId::kQueueSeconds, {}, absl::ToDoubleSeconds(grant.waited));
  metrics.Observe(MetricId::kFirstEventSeconds, {}, absl::ToDoubleSeconds(since_arrival));
}

void RecordChunk(telemetry::Metrics& metrics, const models::ResidentModel& model, int32_t sequences,
                 absl::Duration forward, absl::Duration fold) {
  const std::string version = absl::StrCat(model.version);
  const std::string device = model.runner->description().device.str();
  metrics.Add(MetricId::kChunks, {model.name, version, device});
  metrics.Observe(MetricId::kChunkSize, {model.name, version, device}, sequences);
  metrics.Observe(MetricId::kForwardSeconds, {model.name, version, device}, absl::ToDoubleSeconds(forward));
  metrics.Observe(MetricId::kRolloutSeconds, {model.name, version, device}, absl::ToDoubleSeconds(fold));
}

void RecordOutOfMemory(telemetry::Metrics& metrics, const models::ResidentModel& model) {
  metrics.Add(MetricId::kOutOfMemory,
              {model.name, absl::StrCat(model.version), model.runner->description().device.str()});
}

void RecordSequence(telemetry::Metrics& metrics, const models::ResidentModel& model, const Metrics& values,
                    int64_t valid) {
  const std::string version = absl::StrCat(model.version);
  const std::string device = model.runner->description().device.str();
  const double uniform = std::log(static_cast<double>(valid));
  const auto observe = [&](MetricId id, const std::optional<double>& value) {
    if (value.has_value()) metrics.Observe(id, {model.name, version, device}, *value);
  };
  const auto observe_entropy = [&](MetricId plain, MetricId normalized, const std::optional<double>& value) {
    observe(plain, value);
    if (value.has_value() && valid > 1) observe(normalized, *value / uniform);
  };
  observe_entropy(MetricId::kRolloutEntropy, MetricId::kRolloutEntropyNormalized, values.rollout_entropy);
  observe_entropy(MetricId::kAttentionEntropy, MetricId::kAttentionEntropyNormalized,
                  values.attention_entropy);
  observe(MetricId::kAttentionConcentration, values.attention_concentration);
}

void RecordPeak(telemetry::Metrics& metrics, int64_t measured_bytes, int64_t estimated_bytes) {
  metrics.Observe(MetricId::kRequestPeakBytes, {}, static_cast<double>(measured_bytes));
  if (estimated_bytes > 0) {
    metrics.Observe(MetricId::kAdmissionEstimateRatio, {},
                    static_cast<double>(measured_bytes) / static_cast<double>(estimated_bytes));
  }
}

void RecordRecovery(telemetry::Metrics& metrics, const models::ResidentModel& model, int32_t retries) {
  metrics.Add(MetricId::kOutOfMemoryRecovered,
              {model.name, absl::StrCat(model.version), model.runner->description().device.str()}, retries);
}

std::optional<std::string> TextForLog(const AttributionInput& input) {
  constexpr size_t kLongestText = 1 << 10;
  const auto* batch = std::get_if<TextBatch>(&input);
  if (batch == nullptr) return std::nullopt;
  std::string text;
  for (const std::string& one : batch->texts) {
    if (text.size() >= kLongestText) break;
    absl::StrAppend(&text, text.empty() ? "" : "\n", one.substr(0, kLongestText));
  }
  return text.substr(0, kLongestText);
}

void DescribeRequest(const PreparedRequest& request, RequestRecord& record) {
  record.version = absl::StrCat(request.model->version);
  record.sequences = request.num_sequences();
  for (int64_t i = 0; i < record.sequences; ++i) {
    record.longest = std::max(record.longest, request.LengthOf(i));
    record.positions += request.LengthOf(i);
  }
}

void RecordRequest(telemetry::Metrics& metrics, const RequestRecord& record, const CallContext& context,
                   const absl::Status& status) {
  const char* outcome = telemetry::OutcomeName(static_cast<int>(status.code()));
  metrics.Add(MetricId::kRequests, {outcome});
  if (status.code() == absl::StatusCode::kCancelled) {
    metrics.Observe(MetricId::kCancelLatencySeconds, {}, absl::ToDoubleSeconds(record.since_cancel));
  }
  const bool ours = status.code() == absl::StatusCode::kInternal;
  telemetry::LogFields fields = {{"request_id", context.request_id},
                                 {"trace_id", context.trace_id},
                                 {"peer", context.peer},
                                 {"model", record.model.substr(0, kLongestLogged)},
                                 {"version", record.version},
                                 {"sequences", record.sequences},
                                 {"longest", record.longest},
                                 {"positions", record.positions},
                                 {"outcome", outcome},
                                 {"reason", ReasonOf(status).value_or("")},
                                 {"queue_seconds", absl::ToDoubleSeconds(record.waited)},
                                 {"forward_seconds", absl::ToDoubleSeconds(record.forward)},
                                 {"seconds", absl::ToDoubleSeconds(record.total)},
                                 {"since_cancel_seconds", absl::ToDoubleSeconds(record.since_cancel)},
                                 {"peak_bytes", record.peak_bytes},
                                 {"error", ErrorForLog(status)}};
  if (record.text.has_value()) fields.push_back({"text", *record.text});
  telemetry::Log(ours ? telemetry::LogLevel::kError : telemetry::LogLevel::kInfo, "Request ended.", fields);
}

}  // namespace attribution::engine
