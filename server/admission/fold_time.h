// Predicts how long a rollout is folded either way, so that the planner can choose.
//
// Pure functions; any thread. Of use beside each other only: what both ways do alike (fusing heads,
// measuring) is left out, and the rates are those of one machine.
#ifndef SERVER_ADMISSION_FOLD_TIME_H_
#define SERVER_ADMISSION_FOLD_TIME_H_

#include <cstdint>
#include <vector>

#include "server/admission/memory_model.h"

namespace attribution::admission {

// Seconds of folding `layers` layers of sequences of these lengths into whole rollouts: Ã is written once a
// layer, and each layer but the first is a product of two [n, n].
double FullMatrixSeconds(int32_t layers, const std::vector<int64_t>& lengths);

// Seconds of folding the rows of `rows_alone`: its layers are written, where they are kept, and read again,
// and multiplied by [rows, n].
double SelectedRowsSeconds(const RowsAlone& rows_alone, const std::vector<int64_t>& lengths);

}  // namespace attribution::admission

#endif  // SERVER_ADMISSION_FOLD_TIME_H_
