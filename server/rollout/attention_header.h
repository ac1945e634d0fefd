// What follows from an AttentionHeader: whether it is right, and how large a layer is.
//
// Pure functions; any thread.
#ifndef SERVER_ROLLOUT_ATTENTION_HEADER_H_
#define SERVER_ROLLOUT_ATTENTION_HEADER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "attribution/attention_header.h"

namespace attribution::rollout {

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
