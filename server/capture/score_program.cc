// Binding walks through the fragment with the shape of the scores in hand, [B, H, S, T] or, with batch and
// heads folded into one dimension, [G, S, T]. Somewhere on the way the scores must be square and have their
// heads apart, which tells B and H; if they never have, H is what was found out at load. Every operand is
// then brought to four dimensions, of which each is 1 or the scores' own, so that a sequence and rows of it
// can be cut out.
//
// Leading products with a number become the scale of the matrix product. A tensor that is added last is left
// to the softmax, which adds it on its one way over the row.
#include "server/capture/score_program.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "server/capture/fragment_call.h"
#include "server/capture/inlined_graph.h"
#include "server/capture/masked_softmax.h"
#include "server/capture/needed_columns.h"

namespace attribution::capture {
namespace {

using torch::jit::IValue;
using torch::jit::Node;
using torch::jit::Value;
using Sizes = std::vector<int64_t>;
using Call = FragmentCall;  // of one execution

int64_t Product(const Sizes& sizes, size_t count) {
  int64_t product = 1;
  for (size_t i = 0; i < count; ++i) product *= sizes[i];
  return product;
}

// The sizes after a reshape that touches the dimensions before the last two alone; nothing if it does more.
std::optional<Sizes> Reshaped(const Sizes& from, Sizes to) {
  if (to.size() < 3 || to.size() > 4) return std::nullopt;
  const auto open = std::find(to.begin(), to.end(), -1);
  if (open != to.end()) {
    *open = 1;
    const int64_t rest = Product(to, to.size());
    if (rest <= 0) return std::nullopt;
    *open = Product(from, from.size()) / rest;
  }
  const bool keeps_rows = std::equal(from.end() - 2, from.end(), to.end() - 2);
  if (!keeps_rows || Product(from, from.size() - 2) != Product(to, to.size() - 2)) return std::nullopt;
  return to;
}

// Follows the sizes of the scores through the steps. `heads_apart`: B and H, once they are known.
struct ShapeWalk {
  Call& call;
  Sizes sizes;
  std::optional<std::pair<int64_t, int64_t>> heads_apart;

  // Returns false if the sizes contradict each other.
  bool NoteHeads() {
    if (sizes.size() != 4) return true;
    const std::pair<int64_t, int64_t> here = {sizes[0], sizes[1]};
    if (heads_apart.has_value() && *heads_apart != here) return false;
    heads_apart = here;
    return true;
  }

  bool Take(const std::vector<ScoreStep>& steps, std::vector<Sizes>* before) {
    for (const ScoreStep& step : steps) {
      if (before != nullptr) before->push_back(sizes);
      if (step.operation == ScoreOperation::kReshape) {
        const auto asked = call.IntsOf(step.operand);
        const auto reshaped = asked.has_value() ? Reshaped(sizes, *asked) : std::nullopt;
        if (!reshaped.has_value()) return false;
        sizes = *reshaped;
        if (!NoteHeads()) return false;
      }
      call.SetSizes(step.result, sizes);
    }
    return true;
  }
};

// `operand` of scores of `sizes` as [1 or B, 1 or H, 1 or S, 1 or T]; nothing if it does not broadcast so.
std::optional<at::Tensor> InFourDimensions(at::Tensor operand, const Sizes& sizes, int64_t batch,
                                           int64_t heads) {
  if (operand.dim() > static_cast<int64_t>(sizes.size())) return std::nullopt;
  while (operand.dim() < static_cast<int64_t>(sizes.size())) operand = operand.unsqueeze(0);
  for (int64_t i = 0; i < operand.dim(); ++i) {
    if (operand.size(i) != 1 && operand.size(i) != sizes[i]) return std::nullopt;
  }
  if (operand.dim() == 4) return operand;
  return operand.size(0) == 1 ? operand.unsqueeze(0) : operand.unflatten(0, {batch, heads});
}

// A tensor of three or four dimensions with batch and heads apart.
at::Tensor Apart(const at::Tensor& tensor, int64_t batch, int64_t heads) {
  return tensor.dim() == 4 ? tensor : tensor.unflatten(0, {batch, heads});
}

// The operand of one sequence for the rows from `first` that `scores` [H, n, C] holds, broadcastable to them.
at::Tensor CutTo(const at::Tensor& scores, int64_t first, at::Tensor operand) {
  if (!operand.defined() || operand.dim() == 0) return operand;
  if (operand.size(1) != 1) operand = operand.narrow(1, first, scores.size(1));
  return operand.size(2) == 1 ? operand : operand.narrow(2, 0, scores.size(2));
}

// The part of an operand that belongs to one sequence.
at::Tensor OfSequence(const at::Tensor& operand, int64_t sequence) {
  if (!operand.defined() || operand.dim() == 0) return operand;
  return operand.select(0, operand.size(0) == 1 ? 0 : sequence);
}

void Apply(const BoundAttention::Step& step, int64_t first, at::Tensor& scores) {
  const at::Tensor operand = CutTo(scores, first, step.operand);
  const at::Tensor number = CutTo(scores, first, step.number_tensor);
  switch (step.operation) {
    case ScoreOperation::kAdd:
      scores.add_(operand, step.number);
      return;
    case ScoreOperation::kSubtract:
      scores.sub_(operand, step.number);
      return;
    case ScoreOperation::kSubtractFrom:
      scores.neg_().add_(operand);
      return;
    case ScoreOperation::kMultiply:
      scores.mul_(operand);
      return;
    case ScoreOperation::kDivide:
      scores.div_(operand);
      return;
    case ScoreOperation::kTanh:
      scores.tanh_();
      return;
    case ScoreOperation::kMaximum:
      scores.copy_(at::maximum(scores, operand.to(scores.scalar_type())));
      return;
    case ScoreOperation::kMinimum:
      scores.copy_(at::minimum(scores, operand.to(scores.scalar_type())));
      return;
    case ScoreOperation::kMaskedFill:
      if (number.defined()) {
        scores.copy_(at::where(operand, number.to(scores.scalar_type()), scores));
      } else {
        scores.masked_fill_(operand, step.number);
      }
      return;
    case ScoreOperation::kKeepWhere:
      if (number.defined()) {
        scores.copy_(at::where(operand, scores, number.to(scores.scalar_type())));
      } else {
        scores.masked_fill_(operand.logical_not(), step.number);
      }
      return;
    case ScoreOperation::kReshape:
      return;  // a block always has its heads apart
  }
}

bool IsPlainSum(const BoundAttention::Step& step) {
  return step.operation == ScoreOperation::kAdd && step.operand.dim() > 0 &&
         step.operand.scalar_type() == at::kFloat && step.number.toDouble() == 1;
}

bool TakesCondition(ScoreOperation operation) {
  return operation == ScoreOperation::kMaskedFill || operation == ScoreOperation::kKeepWhere;
}

// Fills in the operands of `step`. Returns false if one does not fit.
bool BindStep(const ScoreStep& step, const Call& call, const Sizes& sizes, int64_t batch, int64_t heads,
              BoundAttention::Step& bound) {
  bound.operation = step.operation;
  const auto bind_tensor = [&](const Value* value, at::Tensor& tensor) {
    const auto given = call.ValueOf(value);
    if (!given.has_value()) return false;
    if (given->isScalar()) {
      tensor = at::scalar_tensor(given->toScalar(), at::TensorOptions(at::kDouble));
      return true;
    }
    if (!given->isTensor() || given->toTensor().is_complex()) return false;
    tensor = given->toTensor();
    if (tensor.dim() == 0) return true;
    const auto apart = InFourDimensions(tensor, sizes, batch, heads);
    if (apart.has_value()) tensor = *apart;
    return apart.has_value();
  };
  if (step.operand != nullptr && !bind_tensor(step.operand, bound.operand)) return false;
  if (TakesCondition(step.operation) && bound.operand.scalar_type() != at::kBool) return false;
  if (step.number == nullptr) return true;
  if (const auto number = call.NumberOf(step.number); number.has_value()) {
    bound.number = *number;
    return true;
  }
  return TakesCondition(step.operation) && bind_tensor(step.number, bound.number_tensor);
}

// Takes leading products with a number into the scale.
void TakeScale(std::vector<BoundAttention::Step>& steps, double& scale) {
  size_t taken = 0;
  for (; taken < steps.size(); ++taken) {
    const BoundAttention::Step& step = steps[taken];
    if (step.operation != ScoreOperation::kMultiply && step.operation != ScoreOperation::kDivide) break;
    if (step.operand.dim() != 0 || !step.operand.device().is_cpu()) break;
    const double factor = step.operand.item<double>();
    scale = step.operation == ScoreOperation::kMultiply ? scale * factor : scale / factor;
  }
  steps.erase(steps.begin(), steps.begin() + static_cast<ptrdiff_t>(taken));
}

// A number that can be read without waiting for an accelerator.
std::optional<double> NumberIn(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.dim() != 0 || !tensor.device().is_cpu()) return std::nullopt;
  return tensor.item<double>();
}

// Notes what `step` hides. Returns false if it can show what was hidden before, or make it unclear what is.
bool NoteMask(const BoundAttention::Step& step, std::vector<ScoreMask>& masks) {
  const auto number =
      step.number_tensor.defined() ? NumberIn(step.number_tensor) : std::optional(step.number.toDouble());
  switch (step.operation) {
    case ScoreOperation::kAdd:
    case ScoreOperation::kSubtract: {
      const double factor = step.operation == ScoreOperation::kAdd ? *number : -*number;
      if (step.operand.dim() > 0) {
        masks.push_back({ScoreMask::Kind::kAdded, step.operand, factor});
        return true;
      }
      const auto constant = NumberIn(step.operand);
      return constant.has_value() && std::abs(*constant * factor) < -kSees;
    }
    case ScoreOperation::kMaskedFill:
    case ScoreOperation::kKeepWhere:
      if (!number.has_value() || !(*number <= kHides) || step.operand.dim() == 0) return false;
      masks.push_back({step.operation == ScoreOperation::kMaskedFill ? ScoreMask::Kind::kHidesTrue
                                                                     : ScoreMask::Kind::kKeepsTrue,
                       step.operand});
      return true;
    case ScoreOperation::kMaximum: {
      const auto bound = NumberIn(step.operand);
      return bound.has_value() && *bound <= kHides;
    }
    case ScoreOperation::kMultiply:
    case ScoreOperation::kDivide:
    case ScoreOperation::kTanh:
      return masks.empty();  // the scores are still what the model's width makes them
    case ScoreOperation::kSubtractFrom:
    case ScoreOperation::kMinimum:
    case ScoreOperation::kReshape:
      break;
  }
  return false;
}

// What hides cells of one sequence's scores; nothing if the steps do not tell for sure.
std::optional<std::vector<ScoreMask>> MasksOf(const std::vector<BoundAttention::Step>& steps) {
  std::vector<ScoreMask> masks;
  for (const BoundAttention::Step& step : steps) {
    if (!NoteMask(step, masks)) return std::nullopt;
  }
  return masks;
}

}  // namespace

at::Tensor BoundAttention::HeadsApart(const at::Tensor& output) const {
  return Apart(output, products.query.size(0), products.query.size(1));
}

SequenceSoftmax BoundAttention::SoftmaxOf(int64_t sequence) const {
  std::vector<Step> own = steps;
  for (Step& step : own) {
    step.operand = OfSequence(step.operand, sequence);
    step.number_tensor = OfSequence(step.number_tensor, sequence);
  }
  const int64_t length = products.query.size(2);
  const auto masks = MasksOf(own);
  at::Tensor added;
  if (!own.empty() && IsPlainSum(own.back()) && ComputeType(products.query.scalar_type()) == at::kFloat) {
    added = own.back().operand;
    own.pop_back();
  }
  SequenceSoftmax softmax;
  softmax.apply = [own = std::move(own), added](int64_t first_row, at::Tensor& scores) {
    for (const Step& step : own) Apply(step, first_row, scores);
    MaskedSoftmax(scores, CutTo(scores, first_row, added), kNotCausal, HiddenRows::kNan);
  };
  if (!masks.has_value()) return softmax;
  softmax.columns = [masks = *masks, length](int64_t first_row, int64_t rows) {
    return NeededColumns(masks, first_row, rows, length);
  };
  softmax.visible = [masks = *masks, length, options = products.query.options()](int64_t first_row,
                                                                                 int64_t rows) {
    return VisibleCells(masks, first_row, rows, length, options);
  };
  return softmax;
}

ScoreProgram::ScoreProgram(std::shared_ptr<torch::jit::Graph> fragment, int64_t heads)
    : fragment_(std::move(fragment)), heads_(heads) {
  const std::vector<Node*> candidates = CandidateNodes(*fragment_);
  TORCH_CHECK(candidates.size() == 1, "A fragment holds one softmax, this one ", candidates.size(), ".");
  attention_ = MatchEagerAttention(candidates.front());
  TORCH_CHECK(attention_.refusal.empty(), "A fragment is no eager attention: ", attention_.refusal, ".");
}

std::optional<BoundAttention> ScoreProgram::Bind(at::ArrayRef<IValue> stack) const {
  Call call(stack);
  const at::Tensor query = call.ValueOf(attention_.query)->toTensor();
  const at::Tensor key = call.ValueOf(attention_.key)->toTensor();
  const at::Tensor value = call.ValueOf(attention_.output->input(1))->toTensor();
  const int64_t rank = query.dim();
  if ((rank != 3 && rank != 4) || key.dim() != rank || !query.is_floating_point()) return std::nullopt;
  const int64_t length = query.size(-2);
  if (key.size(-1) != length || query.size(-1) != key.size(-2)) return std::nullopt;
  if (!query.sizes().slice(0, rank - 2).equals(key.sizes().slice(0, rank - 2))) return std::nullopt;

  ShapeWalk walk{call, query.sizes().vec(), std::nullopt};
  walk.sizes.back() = length;
  call.SetSizes(attention_.scores->output(), walk.sizes);
  std::vector<Sizes> sizes_at_step;
  if (!walk.NoteHeads() || !walk.Take(attention_.score_steps, &sizes_at_step)) return std::nullopt;
  const int64_t dimension = call.IntOf(attention_.softmax->input(1)).value_or(0);
  if (dimension != -1 && dimension + 1 != static_cast<int64_t>(walk.sizes.size())) return std::nullopt;
  call.SetSizes(attention_.softmax->output(), walk.sizes);
  if (!walk.Take(attention_.probability_steps, nullptr)) return std::nullopt;
  if (!walk.heads_apart.has_value() && query.size(0) % heads_ != 0) return std::nullopt;
  const auto [batch, heads] =
      walk.heads_apart.value_or(std::pair<int64_t, int64_t>(query.size(0) / heads_, heads_));
  if (batch * heads != Product(walk.sizes, walk.sizes.size() - 2)) return std::nullopt;

  Sizes value_sizes = walk.sizes;
  value_sizes.back() = value.size(-1);
  if (value.sizes() != at::IntArrayRef(value_sizes)) return std::nullopt;

  BoundAttention bound;
  bound.products = {Apart(query, batch, heads), Apart(key, batch, heads), Apart(value, batch, heads), 1};
  bound.output_sizes = value_sizes;
  bound.folded = !walk.heads_apart.has_value();
  for (size_t i = 0; i < attention_.score_steps.size(); ++i) {
    const ScoreStep& step = attention_.score_steps[i];
    if (step.operation == ScoreOperation::kReshape) continue;
    BoundAttention::Step& bound_step = bound.steps.emplace_back();
    if (!BindStep(step, call, sizes_at_step[i], batch, heads, bound_step)) return std::nullopt;
  }
  TakeScale(bound.steps, bound.products.scale);
  return bound;
}

}  // namespace attribution::capture
