// The closed sets of label values. A label whose values come from outside the program does not exist here.
#ifndef SERVER_TELEMETRY_LABEL_VALUES_H_
#define SERVER_TELEMETRY_LABEL_VALUES_H_

#include <array>
#include <cstddef>

namespace attribution::telemetry {

// Canonical status codes 0 .. 16: as `grpc_code` spells them (the spelling of go-grpc-middleware), and as
// `outcome`.
inline constexpr std::array<const char*, 17> kGrpcCodes = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};
inline constexpr std::array<const char*, 17> kOutcomes = {
    "ok",        "cancelled",      "unknown",           "invalid_argument",   "deadline_exceeded",
    "not_found", "already_exists", "permission_denied", "resource_exhausted", "failed_precondition",
    "aborted",   "out_of_range",   "unimplemented",     "internal",           "unavailable",
    "data_loss", "unauthenticated"};

// Names of a canonical status code; a number outside 0 .. 16 is "unknown".
constexpr const char* GrpcCodeName(int code) { return kGrpcCodes[code >= 0 && code <= 16 ? code : 2]; }
constexpr const char* OutcomeName(int code) { return kOutcomes[code >= 0 && code <= 16 ? code : 2]; }

// What admission decides, and why.
struct DecisionLabels {
  const char* decision;
  const char* reason;
};
inline constexpr std::array<DecisionLabels, 11> kAdmissionDecisions = {{
    {"admitted", "at_once"},
    {"admitted", "after_waiting"},
    {"admitted", "shared"},
    {"refused", "never_fits"},
    {"refused", "queue_full"},
    {"refused", "queue_bytes_full"},
    {"refused", "draining"},
    {"refused", "deadline_too_near"},
    {"dropped", "queue_timeout"},
    {"dropped", "deadline"},
    {"dropped", "cancelled"},
}};

}  // namespace attribution::telemetry

#endif  // SERVER_TELEMETRY_LABEL_VALUES_H_
