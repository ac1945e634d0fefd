#include "server/admission/admission_errors.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/admission/memory_model.h"

namespace attribution::admission {
namespace {

absl::Status NotNow(absl::Status status, const char* reason) {
  return WithRetryDelay(WithReason(std::move(status), reason), kRetryDelay);
}

}  // namespace

absl::Status NeverFits(int64_t estimated_bytes, int64_t budget_bytes, int64_t max_seq_length_that_fits) {
  return WithReason(absl::FailedPreconditionError(absl::StrCat(
                        "The longest sequence alone needs more memory than requests may use: an estimated ",
                        estimated_bytes, " bytes, for which ", ReservedBytes(estimated_bytes),
                        " are reserved, the budget is ", budget_bytes, ". Send sequences of at most ",
                        max_seq_length_that_fits, " tokens, or raise the server's --memory-budget.")),
                    "NEVER_FITS",
                    {{"estimated_bytes", absl::StrCat(estimated_bytes)},
                     {"budget_bytes", absl::StrCat(budget_bytes)},
                     {"max_seq_length_that_fits", absl::StrCat(max_seq_length_that_fits)}});
}

absl::Status QueueFull(int64_t waiting, int32_t queue_limit) {
  return NotNow(
      absl::ResourceExhaustedError(absl::StrCat("Too many requests wait: ", waiting, ", the limit is ",
                                                queue_limit, ". Send the request again later.")),
      "QUEUE_FULL");
}

absl::Status QueueBytesFull(int64_t request_bytes, int64_t waiting_bytes, int64_t queue_bytes) {
  return NotNow(absl::ResourceExhaustedError(absl::StrCat(
                    "The requests that wait are too large together: ", waiting_bytes,
                    " bytes wait, this request has ", request_bytes, ", the limit is ", queue_bytes,
                    ". Send the request again later, or send fewer sequences at a time.")),
                "QUEUE_BYTES_FULL");
}

absl::Status QueueTimeout(absl::Duration waited, absl::Duration queue_timeout) {
  return NotNow(absl::ResourceExhaustedError(absl::StrCat(
                    "The request waited too long for memory or a worker: ", absl::FormatDuration(waited),
                    ", the limit is ", absl::FormatDuration(queue_timeout),
                    ". Send the request again later, or send fewer sequences at a time.")),
                "QUEUE_TIMEOUT");
}

absl::Status DeadlinePassed(absl::Duration waited) {
  return absl::DeadlineExceededError(absl::StrCat(
      "The deadline passed before the request could start. It waited ", absl::FormatDuration(waited),
      " for memory or a worker. Allow more time, or send fewer sequences at a time."));
}

absl::Status DeadlineTooNear(absl::Duration left, absl::Duration expected_wait,
                             absl::Duration expected_duration) {
  return WithReason(
      absl::DeadlineExceededError(absl::StrCat(
          "The request cannot finish before its deadline, and was not started. It has ",
          absl::FormatDuration(left), ", and is expected to wait ", absl::FormatDuration(expected_wait),
          " and to run ", absl::FormatDuration(expected_duration),
          ". Allow more time, or send fewer or shorter sequences at a time.")),
      "DEADLINE_TOO_NEAR",
      {{"expected_wait_seconds", absl::StrCat(absl::ToDoubleSeconds(expected_wait))},
       {"expected_duration_seconds", absl::StrCat(absl::ToDoubleSeconds(expected_duration))}});
}

absl::Status Draining() {
  return NotNow(
      absl::UnavailableError("The server is shutting down and takes no new requests. Send the request "
                             "to another server, or again later."),
      "DRAINING");
}

absl::Status CancelledWhileWaiting() {
  return absl::CancelledError("The request was cancelled while it waited for memory or a worker.");
}

absl::Status ServerEnded() {
  return absl::CancelledError(
      "The server ended while the request waited. Send the request to "
      "another server, or again later.");
}

}  // namespace attribution::admission
