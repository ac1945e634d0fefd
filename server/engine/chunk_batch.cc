#include "server/engine/chunk_batch.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace attribution::engine {
namespace {

// Writes one input of one sequence to the front of `row`.
void FillRow(const TokenSequence& sequence, capture::InputRole role, int64_t* row) {
  switch (role) {
    case capture::InputRole::kInputIds:
      std::copy(sequence.input_ids.begin(), sequence.input_ids.end(), row);
      return;
    case capture::InputRole::kAttentionMask:
      if (sequence.attention_mask.empty()) {
        std::fill_n(row, sequence.input_ids.size(), 1);
      } else {
        std::copy(sequence.attention_mask.begin(), sequence.attention_mask.end(), row);
      }
      return;
    case capture::InputRole::kTokenTypeIds:
      std::copy(sequence.token_type_ids.begin(), sequence.token_type_ids.end(), row);
      return;
    case capture::InputRole::kOther:
      return;
  }
}

}  // namespace

std::vector<at::Tensor> MakeChunkBatch(const std::vector<const TokenSequence*>& sequences,
                                       int64_t padded_length, const std::vector<capture::RunnerInput>& inputs,
                                       int64_t pad_token_id) {
  const auto count = static_cast<int64_t>(sequences.size());
  std::vector<at::Tensor> batch;
  batch.reserve(inputs.size());
  for (const capture::RunnerInput& input : inputs) {
    const int64_t padding = input.role == capture::InputRole::kInputIds ? pad_token_id : 0;
    at::Tensor tensor = at::full({count, padded_length}, padding, at::kLong);
    auto* row = tensor.data_ptr<int64_t>();
    for (const TokenSequence* sequence : sequences) {
      FillRow(*sequence, input.role, row);
      row += padded_length;
    }
    batch.push_back(std::move(tensor));
  }
  return batch;
}

std::vector<at::Tensor> MakeChunkBatch(const TensorInputs& tensors, int64_t first, int64_t count) {
  std::vector<at::Tensor> batch;
  for (const at::Tensor& tensor : tensors.tensors) batch.push_back(tensor.narrow(0, first, count));
  return batch;
}

}  // namespace attribution::engine
