// AttentionHeader says what attention a caller is about to stream: its form, sizes and masks.
#ifndef ATTRIBUTION_ATTENTION_HEADER_H_
#define ATTRIBUTION_ATTENTION_HEADER_H_

#include <cstdint>
#include <vector>

#include "attribution/options.h"
#include "attribution/request.h"

namespace attribution {

enum class AttentionForm {
  kPerHead,  // [B, H, S, S]
  kFused,    // [B, S, S], heads fused by the caller
  kSingle,   // [S, S], one sequence
};

struct AttentionHeader {
  AttentionForm form = AttentionForm::kPerHead;
  TensorDtype dtype = TensorDtype::kFloat32;  // or kFloat16, kBfloat16
  int64_t batch = 1;                          // B; 1 for kSingle
  int64_t heads = 1;                          // H; 1 unless kPerHead
  int64_t length = 0;                         // S of every sequence
  int32_t layers = 0;                         // L
  // [B][S] of 0 and 1. No masks, or an empty one: every position is valid.
  std::vector<std::vector<int32_t>> masks;
};

// What to do with the attention that follows.
struct RolloutRequest {
  AttentionHeader header;
  AttributionOptions options;
  OutputSelection output;
};

}  // namespace attribution

#endif  // ATTRIBUTION_ATTENTION_HEADER_H_
