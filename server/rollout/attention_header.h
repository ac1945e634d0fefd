// AttentionHeader says what attention a caller is about to stream: its form, sizes and masks.
//
// A value; CheckHeader and the functions below are pure. Any thread.
#ifndef SERVER_ROLLOUT_ATTENTION_HEADER_H_
#define SERVER_ROLLOUT_ATTENTION_HEADER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "attribution/request.h"

namespace attribution::rollout {

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

// INVALID_ARGUMENT, with a field such as "header.seq_length", for what is out of range or does not go
// together, and for layers whose size in bytes 64 bits cannot hold. Says nothing about memory.
absl::Status CheckHeader(const AttentionHeader& header);

// Bytes of one cell, and of one layer. REQUIRES: CheckHeader() is OK.
int64_t CellBytes(const AttentionHeader& header);
int64_t LayerBytes(const AttentionHeader& header);

// The sizes of one layer: four, three or two, as the form says.
std::vector<int64_t> LayerSizes(const AttentionHeader& header);

// Writes sizes as "[2, 3, 4, 4]".
std::string ShapeText(const std::vector<int64_t>& sizes);

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_ATTENTION_HEADER_H_
