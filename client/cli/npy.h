// Writes an array of float32 as numpy's .npy format, version 1.0, which numpy.load reads.
#ifndef ATTRIBUTION_CLIENT_CLI_NPY_H_
#define ATTRIBUTION_CLIENT_CLI_NPY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "client/cli/reply.h"

namespace attribution::cli {

// Returns the bytes in front of the data: magic, version, length and description, padded to a multiple of 64
// bytes.
std::string NpyHeader(const std::vector<int64_t>& shape);

// Returns a file of the rollouts of all sequences, [B, S, S], S the length of the longest. Cells outside a
// shorter sequence and rows that were not asked for are 0.
std::string NpyOfRollouts(const Reply& reply);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_NPY_H_
