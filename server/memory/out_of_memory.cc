#include "server/memory/out_of_memory.h"

#include <c10/util/Exception.h>

#include <new>
#include <string>
#include <utility>

#include "attribution/status_details.h"
#include "server/memory/allocation_counter.h"

namespace attribution::memory {
namespace {

// When a client should ask again: other requests have ended by then, or have not.
constexpr absl::Duration kRetryDelay = absl::Seconds(1);

}  // namespace

OutOfMemoryWatch::OutOfMemoryWatch() : before_(FailedAllocations()) {}

bool OutOfMemoryWatch::happened() const { return FailedAllocations() != before_; }

bool IsOutOfMemory(const std::exception& error) {
  return dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
         dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
}

absl::Status OutOfMemory(const std::exception& error) {
  absl::Status status = absl::ResourceExhaustedError(
      "Memory ran out while the request was computed. Send the request again later, or send fewer or shorter "
      "sequences at a time.");
  status = WithRetryDelay(WithReason(std::move(status), kOutOfMemoryReason), kRetryDelay);
  return WithLogDetail(std::move(status), error.what());
}

bool IsOutOfMemory(const absl::Status& status) { return ReasonOf(status) == kOutOfMemoryReason; }

}  // namespace attribution::memory
