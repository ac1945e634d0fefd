// ScoreProgram runs the operators between the two products of an eager attention on a block of rows.
//
// Made once from the fragment of the graph that holds them; immutable; any thread. A call's tensors are bound
// to it first: only then shapes are known, and whether the fragment is self-attention whose operators can be
// cut by rows.
#ifndef SERVER_CAPTURE_SCORE_PROGRAM_H_
#define SERVER_CAPTURE_SCORE_PROGRAM_H_

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/ir/ir.h>

#include <memory>
#include <optional>
#include <vector>

#include "server/capture/blocked_attention.h"
#include "server/capture/eager_attention.h"

namespace attribution::capture {

// One call of an eager attention, in the form that can be computed in blocks.
struct BoundAttention {
  AttentionProducts products;
  std::vector<int64_t> output_sizes;  // of the output: batch and heads may be one dimension
  bool folded = false;                // they are, all the way

  // `output`, of those sizes, as [B, H, S, V].
  at::Tensor HeadsApart(const at::Tensor& output) const;

  // A step with its operand as [1 or B, 1 or H, 1 or S, 1 or S], or a tensor without dimensions, or a number.
  struct Step {
    ScoreOperation operation = ScoreOperation::kTanh;
    at::Tensor operand;
    at::Tensor number_tensor;  // defined: c is this tensor, of either form above
    at::Scalar number = 1;
  };
  std::vector<Step> steps;

  // Makes the softmax of one sequence.
  SequenceSoftmax SoftmaxOf(int64_t sequence) const;
};

class ScoreProgram {
 public:
  // `fragment` holds one eager attention. Its inputs are the stack of a call. `heads`: of a sequence, should
  // batch and heads be one dimension all the way.
  ScoreProgram(std::shared_ptr<torch::jit::Graph> fragment, int64_t heads);

  // Binds the first inputs of the fragment in `stack`. Returns nothing if the call is not self-attention over
  // whole sequences, or if an operand does not fit the scores as they are when it is applied.
  std::optional<BoundAttention> Bind(at::ArrayRef<c10::IValue> stack) const;

 private:
  const std::shared_ptr<torch::jit::Graph> fragment_;
  const int64_t heads_;
  EagerAttention attention_;
};

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_SCORE_PROGRAM_H_
