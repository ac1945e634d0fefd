// What was learned of one model version while it served.
#ifndef SERVER_ADMISSION_LEARNED_COST_H_
#define SERVER_ADMISSION_LEARNED_COST_H_

#include "server/admission/cost_correction.h"
#include "server/admission/duration_model.h"

namespace attribution::admission {

// Thread-safe, as its members are.
struct LearnedCost {
  CostCorrection memory;
  DurationModel duration;
};

}  // namespace attribution::admission

#endif  // SERVER_ADMISSION_LEARNED_COST_H_
