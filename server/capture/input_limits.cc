// A table whose indices are input_ids themselves, whatever they are, is the vocabulary. A table whose indices
// are computed from the length (or from a mask or from padding, as RoBERTa's and OPT's with their offsets) is
// a table of positions: the longest sequence is the largest S whose S indices all lie in it, found by
// bisection. A table with room for a length beyond its own rows (the buckets of relative positions) limits
// nothing.
#include "server/capture/input_limits.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

#include <optional>

namespace attribution::capture {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Stack;

// One embedding of a probe: the indices that reached it and the rows of its table.
struct Lookup {
  at::Tensor indices;
  int64_t rows = 0;
};

class IndexProbe {
 public:
  IndexProbe(const torch::jit::Module& module, const InlinedGraph& inlined,
             const std::vector<RunnerInput>& inputs, c10::Device device)
      : module_(module), inputs_(inputs), device_(device) {
    const std::shared_ptr<Graph> graph = inlined.graph->copy();
    while (!graph->outputs().empty()) graph->eraseOutput(graph->outputs().size() - 1);
    for (Node* node : graph->block()->nodes()) {
      if (node->kind() != c10::Symbol::fromQualString("aten::embedding")) continue;
      graph->registerOutput(node->input(1));
      graph->registerOutput(node->input(0));
      ++tables_;
    }
    torch::jit::EliminateDeadCode(graph->block());
    executor_ =
        torch::jit::GraphExecutor(graph, "embedding_indices", torch::jit::ExecutorExecutionMode::SIMPLE);
  }

  size_t tables() const { return tables_; }

  // The look-ups for one sequence, or nothing if the graph cannot compute them at this length.
  // `ids` and `types`: [1, S] int64. The mask is all ones.
  std::optional<std::vector<Lookup>> Run(const at::Tensor& ids, const at::Tensor& types) {
    Stack stack;
    stack.emplace_back(module_._ivalue());
    for (const RunnerInput& input : inputs_) {
      const bool is_ids = input.role == InputRole::kInputIds;
      const bool is_types = input.role == InputRole::kTokenTypeIds;
      stack.emplace_back((is_ids ? ids : is_types ? types : at::ones_like(ids)).to(device_));
    }
    try {
      executor_.run(stack);
    } catch (const std::exception&) {
      return std::nullopt;
    }
    std::vector<Lookup> lookups;
    for (size_t i = 0; i + 1 < stack.size(); i += 2)
      lookups.push_back({stack[i].toTensor(), stack[i + 1].toTensor().size(0)});
    return lookups;
  }

 private:
  const torch::jit::Module& module_;
  const std::vector<RunnerInput>& inputs_;
  c10::Device device_;
  size_t tables_ = 0;
  torch::jit::GraphExecutor executor_;
};

at::Tensor Ids(int64_t length, int64_t step) {
  return at::arange(length, at::kLong).mul_(step).remainder_(7).add_(2).unsqueeze(0);
}

bool Same(const at::Tensor& indices, const at::Tensor& input) {
  return indices.sizes() == input.sizes() && indices.cpu().to(at::kLong).equal(input);
}

// Whether table `i` has a row for every position of a sequence of `length`. Two sequences are tried, each of
// one id repeated: only one of them can be padding, whose positions some models do not count.
bool Fits(IndexProbe& probe, size_t i, int64_t length) {
  for (const int64_t id : {2, 3}) {
    const auto lookups = probe.Run(at::full({1, length}, id, at::kLong), at::zeros({1, length}, at::kLong));
    if (!lookups.has_value()) return false;
    const Lookup& lookup = (*lookups)[i];
    if (lookup.indices.dim() == 0 || lookup.indices.size(-1) != length) return false;
    if (lookup.indices.min().item<int64_t>() < 0 || lookup.indices.max().item<int64_t>() >= lookup.rows)
      return false;
  }
  return true;
}

// The longest sequence that table `i` of `rows` rows has positions for; 0 if it limits nothing.
int64_t LongestSequence(IndexProbe& probe, size_t i, int64_t rows) {
  constexpr int64_t kShortest = 2;
  if (rows <= kShortest || !Fits(probe, i, kShortest) || Fits(probe, i, rows + 1)) return 0;
  int64_t fits = kShortest;
  int64_t too_long = rows + 1;
  while (too_long - fits > 1) {
    const int64_t middle = fits + (too_long - fits) / 2;
    (Fits(probe, i, middle) ? fits : too_long) = middle;
  }
  return fits;
}

void Narrow(int64_t& limit, int64_t bound) {
  if (bound > 0 && (limit == 0 || bound < limit)) limit = bound;
}

}  // namespace

InputLimits FindInputLimits(const torch::jit::Module& module, const InlinedGraph& inlined,
                            const std::vector<RunnerInput>& inputs, c10::Device device) {
  InputLimits limits;
  const c10::InferenceMode inference;
  IndexProbe probe(module, inlined, inputs, device);
  if (probe.tables() == 0) return limits;
  constexpr int64_t kLength = 6;
  const at::Tensor ids[] = {Ids(kLength, 1), Ids(kLength, 3)};
  const at::Tensor types[] = {at::zeros({1, kLength}, at::kLong), at::ones({1, kLength}, at::kLong)};
  const auto first = probe.Run(ids[0], types[0]);
  const auto second = probe.Run(ids[1], types[1]);
  if (!first.has_value() || !second.has_value()) return limits;
  for (size_t i = 0; i < first->size(); ++i) {
    const int64_t rows = (*first)[i].rows;
    if (Same((*first)[i].indices, ids[0]) && Same((*second)[i].indices, ids[1])) {
      Narrow(limits.vocabulary_size, rows);
    } else if (Same((*first)[i].indices, types[0]) && Same((*second)[i].indices, types[1])) {
      Narrow(limits.token_type_vocabulary_size, rows);
    } else {
      Narrow(limits.max_sequence_length, LongestSequence(probe, i, rows));
    }
  }
  return limits;
}

}  // namespace attribution::capture
