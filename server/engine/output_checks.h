// Checks of what a request wants to be sent, whoever computes it.
//
// Pure functions; any thread.
#ifndef SERVER_ENGINE_OUTPUT_CHECKS_H_
#define SERVER_ENGINE_OUTPUT_CHECKS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "attribution/options.h"

namespace attribution::engine {

// INVALID_ARGUMENT, with a field such as "output.rows", for choices that do not go together.
absl::Status CheckOutput(const OutputSelection& output);

// Puts row indices into ascending order, each once. INVALID_ARGUMENT if one of them is not a valid position
// of every sequence. An empty mask: all positions are valid. REQUIRES: num_sequences > 0.
absl::Status TakeRowIndices(int64_t num_sequences, const std::function<int64_t(int64_t)>& length_of,
                            const std::function<const std::vector<int32_t>&(int64_t)>& mask_of,
                            std::vector<int32_t>& indices);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_OUTPUT_CHECKS_H_
