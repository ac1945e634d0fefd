// Runs a step of a request so that no exception leaves it.
#ifndef SERVER_ENGINE_GUARDED_H_
#define SERVER_ENGINE_GUARDED_H_

#include <functional>

#include "absl/status/status.h"

namespace attribution::engine {

// Returns what `step` returns. What it throws becomes INTERNAL, COMPUTATION_FAILED; running out of memory
// RESOURCE_EXHAUSTED, OUT_OF_MEMORY.
absl::Status Guarded(const std::function<absl::Status()>& step);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_GUARDED_H_
