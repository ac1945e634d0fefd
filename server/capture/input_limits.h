// Finds the vocabulary and the longest sequence of a model in the embedding tables that its inputs reach.
#ifndef SERVER_CAPTURE_INPUT_LIMITS_H_
#define SERVER_CAPTURE_INPUT_LIMITS_H_

#include <torch/csrc/jit/api/module.h>

#include <cstdint>
#include <vector>

#include "server/capture/inlined_graph.h"
#include "server/capture/model_runner.h"

namespace attribution::capture {

struct InputLimits {
  int64_t vocabulary_size = 0;             // 0: no table is indexed by input_ids
  int64_t token_type_vocabulary_size = 0;  // 0: no table is indexed by token_type_ids
  int64_t max_sequence_length = 0;         // 0: no table limits the length
};

// Runs only the part of the graph that computes the indices of embeddings, on made-up inputs: no weight is
// read, and no table is longer to probe than its indices. What the graph does not tell stays 0.
InputLimits FindInputLimits(const torch::jit::Module& module, const InlinedGraph& inlined,
                            const std::vector<RunnerInput>& inputs, c10::Device device);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_INPUT_LIMITS_H_
