// ModelRunner runs one resident model and shows its attention to an observer.
//
// Immutable once loaded; Run may be called from several threads at once. No exception of torch leaves this
// room.
#ifndef SERVER_CAPTURE_MODEL_RUNNER_H_
#define SERVER_CAPTURE_MODEL_RUNNER_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "attribution/model_info.h"
#include "server/capture/attention_observer.h"
#include "server/capture/length_rule.h"

namespace attribution::capture {

// What an input of `forward` means.
enum class InputRole { kInputIds, kAttentionMask, kTokenTypeIds, kOther };

struct RunnerInput {
  std::string name;
  InputRole role = InputRole::kOther;
  TensorDtype dtype = TensorDtype::kInt64;
  std::vector<int64_t> shape = {-1, -1};  // -1 where free; dimension 0 is the batch

  // Whether token sequences fill it; else a request sends it as a tensor.
  bool takes_tokens() const {
    return role != InputRole::kOther && dtype == TensorDtype::kInt64 && shape == std::vector<int64_t>{-1, -1};
  }
};

// Whether some input of a model is not filled by token sequences.
inline bool TakesTensors(const std::vector<RunnerInput>& inputs) {
  for (const RunnerInput& input : inputs) {
    if (!input.takes_tokens()) return true;
  }
  return false;
}

// Whether an input has a free dimension beside the batch. All of them have the same size, the input's length.
inline bool HasFreeLength(const std::vector<RunnerInput>& inputs) {
  for (const RunnerInput& input : inputs) {
    for (size_t i = 1; i < input.shape.size(); ++i) {
      if (input.shape[i] < 0) return true;
    }
  }
  return false;
}

// Bytes above the resident model at one kind of moment of a forward pass, the largest of its kind, for B
// sequences of padded length S:
//   B·(S²·per_cell + S·per_token + per_sequence) + S²·per_square + S·per_position + fixed.
struct MomentCost {
  double bytes_per_token = 0;
  double bytes_per_cell = 0;  // masks [B, 1, S, S]; scores and probabilities of a tapped model
  double bytes_per_sequence = 0;
  double bytes_per_position = 0;  // of one sequence at a time, such as keys that several heads share
  double bytes_per_square = 0;    // masks that all sequences share
  double fixed_bytes = 0;
};

// Both moments of lengths from `from_length` on.
struct RangeCost {
  int64_t from_length = 1;
  MomentCost forward = {};    // between the layers of attention
  MomentCost attention = {};  // while attention is shown, without the scores of the block in work
};

// What a forward pass allocates, fitted on runs at load. The rollout's own bytes are not part of it. S is the
// input's length; of a model whose inputs are all of fixed size it is the length of its longest site, and
// bytes are by token or fixed.
struct ActivationCost {
  std::vector<RangeCost> ranges;    // by length, ascending; the first from 1
  double score_bytes_per_cell = 0;  // of a cell of that block, of all heads; 0 if whole layers are tapped
};

// What loading found out about a model.
struct ModelDescription {
  std::vector<RunnerInput> inputs;         // in the order of `forward`
  std::vector<AttentionSite> sites;        // in graph order; executions > 0 for each
  std::vector<SkippedSite> skipped;        // with the reason
  std::vector<int32_t> execution_order;    // site of each attention layer, in order of execution, [L]
  bool layers_depend_on_input = false;     // an input may run other layers; [L] are the most of those tried
  bool one_sequence_at_a_time = false;     // its attention does not tell sequences apart
  std::vector<int32_t> site_heads;         // heads of each site
  std::vector<LengthRule> site_lengths;    // positions of each site; absent: those of the input
  int32_t num_heads = 0;                   // the most of any site
  int64_t vocabulary_size = 0;             // 0: unknown
  int64_t token_type_vocabulary_size = 0;  // 0: unknown
  int64_t max_sequence_length = 0;         // 0: no limit of its own
  int64_t resident_bytes = 0;              // parameters and buffers
  c10::Device device = c10::Device(c10::kCPU);
  ActivationCost activation_cost;

  bool takes_tensors() const { return TakesTensors(inputs); }

  // Positions of a site's attention where the input has `input_length`.
  int64_t LengthOf(int32_t site, int64_t input_length) const {
    const auto index = static_cast<size_t>(site);
    return index < site_lengths.size() ? site_lengths[index].LengthAt(input_length) : input_length;
  }

  // Positions of the longest site.
  int64_t LongestLength(int64_t input_length) const {
    int64_t longest = 0;
    for (const AttentionSite& site : sites) longest = std::max(longest, LengthOf(site.index, input_length));
    return longest;
  }

  bool has_mask() const {
    for (const RunnerInput& input : inputs) {
      if (input.role == InputRole::kAttentionMask) return true;
    }
    return false;
  }
};

// What a bundle's manifest fixes about a model; everything has a default that is found in the graph.
struct LoadOptions {
  std::vector<std::string> input_names;     // empty: the argument names of `forward`
  std::vector<ModelInput> declared_inputs;  // those of which the manifest fixes dtype and shape
  std::string attention_layer_pattern;      // RE2; sites that do not match are not attention
  int64_t vocabulary_size = 0;              // 0: from the embedding that input_ids reach
  int64_t max_sequence_length = 0;          // 0: from the position tables
  std::vector<std::pair<int64_t, int64_t>> warmup_shapes;  // (B, S); empty: two short ones
  c10::Device device = c10::Device(c10::kCPU);
};

class ModelRunner {
 public:
  virtual ~ModelRunner() = default;

  virtual const ModelDescription& description() const = 0;

  // Runs the forward pass on `inputs`, of the dtypes and shapes of description().inputs and in their order,
  // on any device, and shows every attention layer to `observer`. Stops after the last layer, or when the
  // observer says so; both are OK. INTERNAL with the first line of the model's own error when it throws;
  // INVALID_ARGUMENT for an index out of an embedding. RESOURCE_EXHAUSTED, OUT_OF_MEMORY, when memory runs
  // out: known only on a thread with a memory::AllocationScope, because torch hides it otherwise.
  virtual absl::Status Run(const std::vector<at::Tensor>& inputs, AttentionObserver& observer) const = 0;
};

// Loads a TorchScript file, rewrites its graph and checks the rewritten graph against the original on the
// warm-up shapes. A model without attention loads; its description has no sites. FAILED_PRECONDITION with a
// sentence for the operator when the file cannot be read, the check fails or an input cannot be provided;
// RESOURCE_EXHAUSTED when memory ran out, whatever came of it.
absl::StatusOr<std::unique_ptr<ModelRunner>> LoadTorchScript(const std::string& path,
                                                             const LoadOptions& options);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_MODEL_RUNNER_H_
