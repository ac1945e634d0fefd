// FuseHeads makes one matrix out of the heads of a layer.
//
// Pure function; any thread.
#ifndef SERVER_ROLLOUT_HEAD_FUSION_H_
#define SERVER_ROLLOUT_HEAD_FUSION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "attribution/options.h"

namespace attribution::rollout {

// Returns the mean, maximum or minimum over the heads of `probabilities` [H, rows, columns], cell by cell, or
// head `head` alone. The result [rows, columns] is float32, contiguous and shares no memory with the input;
// NaN in a head that is used stays NaN. Half precision accumulates in float32. REQUIRES: head is empty or in
// [0, H).
at::Tensor FuseHeads(const at::Tensor& probabilities, HeadFusion fusion, std::optional<int32_t> head);

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_HEAD_FUSION_H_
