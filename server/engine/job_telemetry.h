// What a job tells the metrics and the log. One function an occasion; any thread.
#ifndef SERVER_ENGINE_JOB_TELEMETRY_H_
#define SERVER_ENGINE_JOB_TELEMETRY_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "attribution/engine.h"
#include "attribution/events.h"
#include "server/admission/admission_controller.h"
#include "server/engine/request_intake.h"
#include "server/models/resident_model.h"
#include "server/telemetry/metrics.h"

namespace attribution::engine {

// What the log says of a request.
struct RequestRecord {
  std::string model;    // as the client named it
  std::string version;  // that serves it; empty if none was found
  int64_t sequences = 0;
  int64_t longest = 0;    // positions
  int64_t positions = 0;  // of all sequences
  absl::Duration waited;
  absl::Duration forward;
  absl::Duration total;
  absl::Duration since_cancel;  // 0 unless it was cancelled
  int64_t peak_bytes = 0;
  std::optional<std::string> text;  // what it holds, only where the operator asked for that
};

// Returns the texts of a request, one after the other, cut to 1 KiB; nothing if it has none.
std::optional<std::string> TextForLog(const AttributionInput& input);

// Fills what a checked request says about itself.
void DescribeRequest(const PreparedRequest& request, RequestRecord& record);

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

// `retries` chunks ran out of memory and were computed after all.
void RecordRecovery(telemetry::Metrics& metrics, const models::ResidentModel& model, int32_t retries);

// A request ended. Writes its log line.
void RecordRequest(telemetry::Metrics& metrics, const RequestRecord& record, const CallContext& context,
                   const absl::Status& status);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_JOB_TELEMETRY_H_
