#include "server/capture/attention_operators.h"

#include <ATen/ATen.h>
#include <ATen/core/stack.h>
#include <torch/csrc/jit/runtime/custom_operator.h>
#include <torch/csrc/jit/runtime/interpreter.h>
#include <torch/library.h>

#include "server/capture/blocked_attention.h"
#include "server/capture/inlined_graph.h"
#include "server/capture/rewrite_attention.h"
#include "server/capture/scaled_dot_product_attention.h"
#include "server/capture/score_program.h"
#include "server/capture/whole_attention.h"

namespace attribution::capture {
namespace {

TORCH_LIBRARY(attribution, library) { library.class_<ObserverHandle>("Observer"); }

// Whether the observer wants the layer; does not return if it wants no more.
bool Begin(ObserverHandle& handle, const LayerShape& shape) {
  if (handle.observer().BeginLayer(shape)) return true;
  if (handle.observer().IsOver()) handle.Stop();
  return false;
}

void RunBlockedAttention(torch::jit::Stack& stack) {
  const auto handle = torch::jit::pop(stack).toCustomClass<ObserverHandle>();
  const bool needs_output = torch::jit::pop(stack).toBool();
  const int64_t heads = torch::jit::pop(stack).toInt();
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
  const auto apart = HeadsApart(inputs, heads);
  if (!apart.has_value()) observer.OtherShape(site, ProbabilitySizes(inputs));
  const auto is_wanted = [&] {
    LayerShape shape = ShapeOf(*apart, site);
    shape.folded = inputs.query.dim() == 3;
    return Begin(*handle, shape);
  };
  if (!apart.has_value() || !is_wanted()) {
    torch::jit::push(stack, needs_output ? PlainAttention(inputs) : at::Tensor());
    return;
  }
  at::Tensor output = BlockedAttention(*apart, needs_output, observer);
  if (needs_output && inputs.query.dim() == 3) output = output.flatten(0, 1);
  torch::jit::push(stack, std::move(output));
  if (!observer.EndLayer()) handle->Stop();
}

// An attention that is written out, as one node of a graph runs it.
class EagerAttentionOperator {
 public:
  explicit EagerAttentionOperator(const torch::jit::Node* node)
      : site_(static_cast<int32_t>(node->i(SiteAttribute()))),
        heads_(node->i(HeadsAttribute())),
        needs_output_(node->i(NeedsOutputAttribute()) != 0),
        num_inputs_(node->inputs().size()),
        program_(node->g(c10::attr::Subgraph), heads_),
        tapped_(Tapped(*node->g(c10::attr::Subgraph)), "eager_attention") {}

  void Run(torch::jit::Stack& stack) const {
    torch::jit::Stack inputs(stack.end() - static_cast<ptrdiff_t>(num_inputs_), stack.end());
    torch::jit::drop(stack, num_inputs_);
    const auto bound = program_.Bind(inputs);
    if (bound.has_value()) {
      torch::jit::push(stack, Compute(*bound, *inputs.back().toCustomClass<ObserverHandle>()));
      return;
    }
    torch::jit::InterpreterState(tapped_).run(inputs);
    torch::jit::push(stack, std::move(inputs.front()));
  }

 private:
  // The fragment as it was written, with a tap in it: for other shapes than those of self-attention.
  std::shared_ptr<torch::jit::Graph> Tapped(torch::jit::Graph& fragment) const {
    std::shared_ptr<torch::jit::Graph> graph = fragment.copy();
    TapSoftmax(*graph, CandidateNodes(*graph).front(), site_, heads_, graph->inputs().back());
    return graph;
  }

  // Rows that nobody wants to see are computed in blocks too: the whole would take memory.
  at::Tensor Compute(const BoundAttention& bound, ObserverHandle& handle) const {
    const at::Tensor& query = bound.products.query;
    const LayerShape shape{site_,         query.size(0),      query.size(1),
                           query.size(2), /*in_blocks=*/true, bound.folded};
    const bool wanted = Begin(handle, shape);
    at::Tensor output;
    if (needs_output_) output = at::empty(bound.output_sizes, query.options());
    if (wanted || needs_output_) {
      const at::Tensor apart = needs_output_ ? bound.HeadsApart(output) : output;
      ComputeInBlocks(
          bound.products, [&bound](int64_t sequence) { return bound.SoftmaxOf(sequence); }, apart,
          wanted ? &handle.observer() : nullptr);
    }
    if (wanted && !handle.observer().EndLayer()) handle.Stop();
    return output;
  }

  const int32_t site_;
  const int64_t heads_;
  const bool needs_output_;
  const size_t num_inputs_;
  const ScoreProgram program_;
  const torch::jit::Code tapped_;
};

torch::jit::Operation MakeEagerAttention(const torch::jit::Node* node) {
  return [attention = std::make_shared<const EagerAttentionOperator>(node)](torch::jit::Stack& stack) {
    attention->Run(stack);
  };
}

void RunTap(torch::jit::Stack& stack) {
  const auto handle = torch::jit::pop(stack).toCustomClass<ObserverHandle>();
  const int64_t heads = torch::jit::pop(stack).toInt();
  const auto site = static_cast<int32_t>(torch::jit::pop(stack).toInt());
  if (!ShowProbabilities(torch::jit::peek(stack, 0, 1).toTensor(), site, heads, handle->observer())) {
    handle->Stop();
  }
}

void RegisterOperators() {
  static const torch::jit::RegisterOperators operators({
      torch::jit::Operator(
          "attribution::blocked_attention(Tensor query, Tensor key, Tensor value, Tensor? "
          "mask, float dropout, "
          "bool is_causal, float? scale, bool enable_gqa, int site, int heads, bool needs_output, "
          "__torch__.torch.classes.attribution.Observer observer) -> Tensor",
          RunBlockedAttention, c10::AliasAnalysisKind::CONSERVATIVE),
      torch::jit::Operator(EagerAttentionSymbol(), MakeEagerAttention, c10::AliasAnalysisKind::CONSERVATIVE),
      torch::jit::Operator("attribution::tap(Tensor probabilities, int site, int heads, "
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

c10::Symbol EagerAttentionSymbol() { return c10::Symbol::fromQualString("attribution::eager_attention"); }

c10::Symbol SiteAttribute() { return c10::Symbol::attr("site"); }

c10::Symbol HeadsAttribute() { return c10::Symbol::attr("heads"); }

c10::Symbol NeedsOutputAttribute() { return c10::Symbol::attr("needs_output"); }

c10::Symbol TapSymbol() { return c10::Symbol::fromQualString("attribution::tap"); }

c10::TypePtr ObserverType() {
  RegisterOperators();
  return c10::getCustomClassType<c10::intrusive_ptr<ObserverHandle>>();
}

}  // namespace attribution::capture
