// Predicts how long something waits for a worker.
//
// Pure function; any thread.
#ifndef SERVER_ADMISSION_EXPECTED_WAIT_H_
#define SERVER_ADMISSION_EXPECTED_WAIT_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"

namespace attribution::admission {

// Returns when a worker is free for what comes after `ahead`, the turns that wait, in order: `busy_for` says
// for how long the workers that run something still do. Each turn goes to the worker that is free first.
// REQUIRES: workers >= 1, and no more of them are busy.
absl::Duration ExpectedWait(const std::vector<absl::Duration>& busy_for,
                            const std::vector<absl::Duration>& ahead, int32_t workers);

}  // namespace attribution::admission

#endif  // SERVER_ADMISSION_EXPECTED_WAIT_H_
