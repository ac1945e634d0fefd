// The errors of admission. Clients rely on code, reason and metadata; the text says what to do.
//
// Pure functions; any thread.
#ifndef SERVER_ADMISSION_ADMISSION_ERRORS_H_
#define SERVER_ADMISSION_ADMISSION_ERRORS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace attribution::admission {

// When a refused client should ask again.
inline constexpr absl::Duration kRetryDelay = absl::Seconds(1);

// FAILED_PRECONDITION, NEVER_FITS, with all three values as metadata.
absl::Status NeverFits(int64_t estimated_bytes, int64_t budget_bytes, int64_t max_seq_length_that_fits);

// RESOURCE_EXHAUSTED with a retry delay: QUEUE_FULL, QUEUE_BYTES_FULL, QUEUE_TIMEOUT.
absl::Status QueueFull(int64_t waiting, int32_t queue_limit);
absl::Status QueueBytesFull(int64_t request_bytes, int64_t waiting_bytes, int64_t queue_bytes);
absl::Status QueueTimeout(absl::Duration waited, absl::Duration queue_timeout);

// DEADLINE_EXCEEDED: it has come, or is nearer than the request can take.
absl::Status DeadlinePassed(absl::Duration waited);
absl::Status DeadlineTooNear(absl::Duration left, absl::Duration expected_wait,
                             absl::Duration expected_duration);

// UNAVAILABLE, DRAINING, with a retry delay.
absl::Status Draining();

// CANCELLED: by its caller, or because the server ended while the request waited.
absl::Status CancelledWhileWaiting();
absl::Status ServerEnded();

}  // namespace attribution::admission

#endif  // SERVER_ADMISSION_ADMISSION_ERRORS_H_
