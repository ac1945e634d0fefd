// Attention that a model returns among its outputs: in tuples, lists and dictionaries, as [B, H, S, S],
// [B, S, S] or, of one sequence, [S, S].
//
// Pure functions; any thread.
#ifndef SERVER_CAPTURE_RETURNED_ATTENTION_H_
#define SERVER_CAPTURE_RETURNED_ATTENTION_H_

#include <ATen/core/Tensor.h>
#include <ATen/core/stack.h>

#include <cstdint>
#include <string>
#include <vector>

#include "server/capture/attention_observer.h"
#include "server/capture/warm_up.h"

namespace attribution::capture {

// One tensor of the outputs that is the attention of a layer.
struct ReturnedLayer {
  size_t leaf = 0;   // number of the tensor among all that the model returns, in their order
  std::string path;  // such as `output.attentions.3`
  int32_t heads = 1;
};

struct ReturnedAttention {
  std::vector<ReturnedLayer> layers;    // in the order of the outputs
  bool one_sequence_at_a_time = false;  // [S, S] whatever the batch is
};

// Finds the tensors that are attention over the batch's own sequences in every batch: square, finite and not
// negative in valid rows. `outputs[i]` is what the model returned for `batches[i]`.
ReturnedAttention FindReturnedAttention(const std::vector<WarmUpBatch>& batches,
                                        const std::vector<torch::jit::Stack>& outputs);

// Shows layer after layer to `observer`, site i being `attention.layers[i]`, and lets go of each before the
// next; of what is no attention at once.
void ShowReturnedAttention(const ReturnedAttention& attention, torch::jit::Stack outputs,
                           AttentionObserver& observer);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_RETURNED_ATTENTION_H_
