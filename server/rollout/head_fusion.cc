#include "server/rollout/head_fusion.h"

#include <ATen/ATen.h>

namespace attribution::rollout {

at::Tensor FuseHeads(const at::Tensor& probabilities, HeadFusion fusion, std::optional<int32_t> head) {
  if (head.has_value()) {
    return probabilities.select(0, *head).to(at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
  }
  switch (fusion) {
    case HeadFusion::kMax:
      return at::amax(probabilities, {0}).to(at::kFloat).contiguous();
    case HeadFusion::kMin:
      return at::amin(probabilities, {0}).to(at::kFloat).contiguous();
    case HeadFusion::kMean:
      break;
  }
  return at::mean(probabilities, at::IntArrayRef{0}, /*keepdim=*/false, at::kFloat).contiguous();
}

}  // namespace attribution::rollout
