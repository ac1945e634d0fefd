// What a job tells the metrics and the log. One function an occasion; any thread.
#ifndef SERVER_ENGINE_JOB_TELEMETRY_H_
#define SERVER_ENGINE_JOB_TELEMETRY_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "attribution/events.h"
#include "server/admission/admission_controller.h"
#include "server/models/resident_model.h"
#include "server/telemetry/metrics.h"

namespace attribution::engine {

// Who asked, for the log.
struct RequestIdentity {
  const std::string& model;
  const std::string& request_id;
  const std::string& peer;
};

// The request got its memory `since_arrival` after it came.
void RecordAdmission(telemetry::Metrics& metrics, const admission::Grant& grant,
                     absl::Duration since_arrival);

// A chunk of `sequences` ran; its forward pass took `forward`, `fold` of it for measuring and folding
// attention.
void RecordChunk(telemetry::Metrics& metrics, const models::ResidentModel& model, int32_t sequences,
                 absl::Duration forward, absl::Duration fold);

// A chunk ran out of memory.
void RecordOutOfMemory(telemetry::Metrics& metrics, const models::ResidentModel& model);

// The attribution of one sequence with `valid` valid positions. Entropies are also told divided by
// log(valid), which frees them of the length; a single position has no such value.
void RecordSequence(telemetry::Metrics& metrics, const models::ResidentModel& model, const Metrics& values,
                    int64_t valid);

// A request succeeded with this peak.
void RecordPeak(telemetry::Metrics& metrics, int64_t measured_bytes, int64_t estimated_bytes);

// A request ended, `since_arrival` after it came and, if it was cancelled, `since_cancel` after that. Writes
// its log line.
void RecordRequest(telemetry::Metrics& metrics, const RequestIdentity& identity, const absl::Status& status,
                   absl::Duration since_arrival, absl::Duration since_cancel);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_JOB_TELEMETRY_H_
