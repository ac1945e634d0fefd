#include "server/capture/attention_operators.h"

#include <ATen/core/stack.h>
#include <torch/csrc/jit/runtime/custom_operator.h>
#include <torch/library.h>

#include "server/capture/blocked_attention.h"

namespace attribution::capture {
namespace {

// Rows handed over at a time by a tap: a view, so the size bounds only the observer's own temporaries.
constexpr int64_t kTapRows = 128;

TORCH_LIBRARY(attribution, library) { library.class_<ObserverHandle>("Observer"); }

void RunBlockedAttention(torch::jit::Stack& stack) {
  const auto handle = torch::jit::pop(stack).toCustomClass<ObserverHandle>();
  const bool needs_output = torch::jit::pop(stack).toBool();
  const auto site = static_cast<int32_t>(torch::jit::pop(stack).toInt());
  AttentionInputs inputs;
  inputs.enable_gqa = torch::jit::pop(stack).toBool();
  inputs.scale = torch::jit::pop(stack).toOptional<double>();
  inputs.is_causal = torch::jit::pop(stack).toBool();
  inputs.dropout = torch::jit::pop(stack).toDouble();
  inputs.mask = torch::jit::pop(stack).toOptional<at::Tensor>();
  inputs.value = torch::jit::pop(stack).toTensor();
  inputs.key = torch::jit::pop(stack).toTensor();
  inputs.query = torch::jit::pop(stack).toTensor();

  AttentionObserver& observer = handle->observer();
  if (!IsSelfAttention(inputs) || !observer.BeginLayer(ShapeOf(inputs, site))) {
    torch::jit::push(stack, needs_output ? PlainAttention(inputs) : at::Tensor());
    return;
  }
  torch::jit::push(stack, BlockedAttention(inputs, needs_output, observer));
  if (!observer.EndLayer()) handle->Stop();
}

void RunTap(torch::jit::Stack& stack) {
  const auto handle = torch::jit::pop(stack).toCustomClass<ObserverHandle>();
  const auto site = static_cast<int32_t>(torch::jit::pop(stack).toInt());
  at::Tensor probabilities = torch::jit::peek(stack, 0, 1).toTensor();
  if (probabilities.dim() == 3) probabilities = probabilities.unsqueeze(1);  // [B, S, S]: a single head
  if (probabilities.dim() != 4 || probabilities.size(2) != probabilities.size(3)) return;

  AttentionObserver& observer = handle->observer();
  const LayerShape shape{site, probabilities.size(0), probabilities.size(1), probabilities.size(2)};
  if (!observer.BeginLayer(shape)) return;
  for (int64_t sequence = 0; sequence < shape.batch; ++sequence) {
    const at::Tensor rows = probabilities.select(0, sequence);
    for (int64_t first = 0; first < shape.length; first += kTapRows) {
      observer.AddRows(sequence, first, rows.narrow(1, first, std::min(kTapRows, shape.length - first)));
    }
    observer.EndSequence(sequence);
  }
  if (!observer.EndLayer()) handle->Stop();
}

void RegisterOperators() {
  static const torch::jit::RegisterOperators operators({
      torch::jit::Operator("attribution::blocked_attention(Tensor query, Tensor key, Tensor value, Tensor? "
                           "mask, float dropout, "
                           "bool is_causal, float? scale, bool enable_gqa, int site, bool needs_output, "
                           "__torch__.torch.classes.attribution.Observer observer) -> Tensor",
                           RunBlockedAttention, c10::AliasAnalysisKind::CONSERVATIVE),
      torch::jit::Operator("attribution::tap(Tensor probabilities, int site, "
                           "__torch__.torch.classes.attribution.Observer observer) -> Tensor",
                           RunTap, c10::AliasAnalysisKind::CONSERVATIVE),
  });
}

}  // namespace

void ObserverHandle::Stop() {
  stopped_ = true;
  throw StopForward();
}

c10::Symbol BlockedAttentionSymbol() { return c10::Symbol::fromQualString("attribution::blocked_attention"); }

c10::Symbol TapSymbol() { return c10::Symbol::fromQualString("attribution::tap"); }

c10::TypePtr ObserverType() {
  RegisterOperators();
  return c10::getCustomClassType<c10::intrusive_ptr<ObserverHandle>>();
}

}  // namespace attribution::capture
