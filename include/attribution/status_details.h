// What an absl::Status carries besides code and message: the field at fault, and a reason for programs to act
// on.
//
// Kept as payloads of the status, so that they survive being passed on. Free functions, no state.
#ifndef ATTRIBUTION_STATUS_DETAILS_H_
#define ATTRIBUTION_STATUS_DETAILS_H_

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace attribution {

inline constexpr char kFieldPayload[] = "attribution/field";
inline constexpr char kLogDetailPayload[] = "attribution/log_detail";
inline constexpr char kReasonPayload[] = "attribution/reason";
inline constexpr char kMetadataPayloadPrefix[] = "attribution/metadata/";
inline constexpr char kRetryDelayPayload[] = "attribution/retry_delay_seconds";

// Returns the text stored under `type_url`, or nothing.
inline std::optional<std::string> PayloadOf(const absl::Status& status, const char* type_url) {
  const auto payload = status.GetPayload(type_url);
  if (!payload.has_value()) return std::nullopt;
  return std::string(*payload);
}

// Makes an INVALID_ARGUMENT error about the request field `field`, a path such as "options.residual_weight".
inline absl::Status InvalidField(std::string_view field, const std::string& message) {
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(kFieldPayload, absl::Cord(absl::string_view(field.data(), field.size())));
  return status;
}

// Returns the path of the field at fault, or nothing when the error is not about one.
inline std::optional<std::string> FieldOf(const absl::Status& status) {
  return PayloadOf(status, kFieldPayload);
}

// Adds a reason in UPPER_SNAKE_CASE, such as "NON_FINITE_ATTENTION". Does nothing to an OK status.
inline absl::Status WithReason(absl::Status status, std::string_view reason) {
  status.SetPayload(kReasonPayload, absl::Cord(absl::string_view(reason.data(), reason.size())));
  return status;
}

// Returns the reason, or nothing when the error has none.
inline std::optional<std::string> ReasonOf(const absl::Status& status) {
  return PayloadOf(status, kReasonPayload);
}

// The same, with values that belong to the reason, such as {"budget_bytes", "1048576"}.
inline absl::Status WithReason(absl::Status status, std::string_view reason,
                               const std::map<std::string, std::string>& metadata) {
  status = WithReason(std::move(status), reason);
  for (const auto& [key, value] : metadata) {
    status.SetPayload(absl::StrCat(kMetadataPayloadPrefix, key), absl::Cord(value));
  }
  return status;
}

// Returns the values that belong to the reason; empty when there are none.
inline std::map<std::string, std::string> MetadataOf(const absl::Status& status) {
  std::map<std::string, std::string> metadata;
  status.ForEachPayload([&metadata](absl::string_view type_url, const absl::Cord& payload) {
    if (!absl::StartsWith(type_url, kMetadataPayloadPrefix)) return;
    type_url.remove_prefix(absl::string_view(kMetadataPayloadPrefix).size());
    metadata.emplace(std::string(type_url), std::string(payload));
  });
  return metadata;
}

// Says that the same request may succeed after `delay`. Does nothing to an OK status.
inline absl::Status WithRetryDelay(absl::Status status, absl::Duration delay) {
  status.SetPayload(kRetryDelayPayload, absl::Cord(absl::StrCat(absl::ToDoubleSeconds(delay))));
  return status;
}

// Returns how long to wait before a retry, or nothing when a retry does not help.
inline std::optional<absl::Duration> RetryDelayOf(const absl::Status& status) {
  const auto text = PayloadOf(status, kRetryDelayPayload);
  double seconds = 0;
  if (!text.has_value() || !absl::SimpleAtod(*text, &seconds)) return std::nullopt;
  return absl::Seconds(seconds);
}

// Makes an UNIMPLEMENTED error about `field` of the interface; `what` is not built in this version. Reason
// NOT_IMPLEMENTED.
inline absl::Status NotBuilt(std::string_view field, std::string_view what) {
  absl::Status status = absl::UnimplementedError(
      absl::StrCat(absl::string_view(what.data(), what.size()), " is not built yet. Leave ",
                   absl::string_view(field.data(), field.size()), " unset."));
  status.SetPayload(kFieldPayload, absl::Cord(absl::string_view(field.data(), field.size())));
  return WithReason(std::move(status), "NOT_IMPLEMENTED");
}

// Keeps what only the operator may read, such as the whole text of a model's error. Never sent to a client.
inline absl::Status WithLogDetail(absl::Status status, const std::string& detail) {
  status.SetPayload(kLogDetailPayload, absl::Cord(detail));
  return status;
}

// Returns what only the operator may read, or nothing.
inline std::optional<std::string> LogDetailOf(const absl::Status& status) {
  return PayloadOf(status, kLogDetailPayload);
}

}  // namespace attribution

#endif  // ATTRIBUTION_STATUS_DETAILS_H_
