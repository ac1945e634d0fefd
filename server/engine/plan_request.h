// What admission must know of a request to plan its chunks.
//
// Pure function; any thread.
#ifndef SERVER_ENGINE_PLAN_REQUEST_H_
#define SERVER_ENGINE_PLAN_REQUEST_H_

#include <cstdint>

#include "server/admission/chunk_planner.h"
#include "server/engine/request_intake.h"

namespace attribution::engine {

// `rows_in_work`: query rows of attention that the threads of a worker have in work at once.
admission::PlanRequest MakePlanRequest(const PreparedRequest& request, int64_t rows_in_work);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_PLAN_REQUEST_H_
