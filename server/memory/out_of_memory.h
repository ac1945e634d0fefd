// What becomes of an allocation that failed: one status, however torch wrapped the exception.
//
// Torch's interpreter rethrows an exception as text, and its type is lost. So the counter keeps the fact, and
// an OutOfMemoryWatch around the call asks it. Free of state besides; any thread.
#ifndef SERVER_MEMORY_OUT_OF_MEMORY_H_
#define SERVER_MEMORY_OUT_OF_MEMORY_H_

#include <cstdint>
#include <exception>

#include "absl/status/status.h"

namespace attribution::memory {

inline constexpr char kOutOfMemoryReason[] = "OUT_OF_MEMORY";

// Tells whether an allocation failed since the watch was made, under the counter of the thread that made it.
// REQUIRES: used on the thread and inside the AllocationScope where it was made; without one it sees nothing.
class OutOfMemoryWatch {
 public:
  OutOfMemoryWatch();
  bool happened() const;

 private:
  const int64_t before_;
};

// Whether `error` has kept the type by which torch or the C++ library say that memory ran out.
bool IsOutOfMemory(const std::exception& error);

// RESOURCE_EXHAUSTED, OUT_OF_MEMORY, with a retry delay; the text of `error` goes to the log.
absl::Status OutOfMemory(const std::exception& error);

// Whether a status is the one above.
bool IsOutOfMemory(const absl::Status& status);

}  // namespace attribution::memory

#endif  // SERVER_MEMORY_OUT_OF_MEMORY_H_
