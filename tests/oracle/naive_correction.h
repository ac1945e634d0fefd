// NaiveCorrection corrects rollouts for causal models the obvious way: plain loops, double.
//
// It follows docs/rollout.md and shares no code with the server. Pure function; any thread.
#ifndef TESTS_ORACLE_NAIVE_CORRECTION_H_
#define TESTS_ORACLE_NAIVE_CORRECTION_H_

#include <cstdint>
#include <vector>

#include "attribution/options.h"
#include "tests/oracle/naive_rollout.h"

namespace attribution::oracle {

// Returns the rollouts of NaiveRollout(), which takes the same arguments, after options.causal_correction,
// [B][S][S]. A cell may be seen if it is valid and above 0 in a head.
std::vector<Matrix> NaiveCorrection(const std::vector<Layer>& layers, const Masks& masks,
                                    const std::vector<int64_t>& lengths, const ResolvedOptions& options);

}  // namespace attribution::oracle

#endif  // TESTS_ORACLE_NAIVE_CORRECTION_H_
