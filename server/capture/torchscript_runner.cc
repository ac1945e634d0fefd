// Loading a TorchScript file, in order:
//
//   1. inline forward into one graph, keeping the path of every attention candidate, and move it to the
//   device
//   2. bind the inputs, read vocabulary and longest sequence from the embedding tables
//   3. run the original on made-up batches, then with every candidate observed: what ran over the sequences
//   is a site
//   4. rewrite the sites and written-out GELU, cut what follows the last site, and check both graphs against
//   the original; without a site, look for attention in what the original returns
//   5. measure what a forward pass allocates
//
// Only the cut graph is kept, or the original if it returns its attention.
#include <ATen/ATen.h>
#include <re2/re2.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <bit>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/capture/attention_discovery.h"
#include "server/capture/forward_inputs.h"
#include "server/capture/fuse_gelu.h"
#include "server/capture/graph_device.h"
#include "server/capture/graph_plan.h"
#include "server/capture/inlined_graph.h"
#include "server/capture/input_limits.h"
#include "server/capture/measured_cost.h"
#include "server/capture/model_runner.h"
#include "server/capture/returned_attention.h"
#include "server/capture/rewrite_attention.h"
#include "server/capture/self_check.h"
#include "server/capture/torch_message.h"
#include "server/capture/warm_up.h"
#include "server/memory/allocation_counter.h"
#include "server/memory/out_of_memory.h"

namespace attribution::capture {
namespace {

using torch::jit::Stack;

Stack StackOf(const torch::jit::Module& module, const std::vector<at::Tensor>& inputs) {
  Stack stack{module._ivalue()};
  stack.insert(stack.end(), inputs.begin(), inputs.end());
  return stack;
}

class TorchScriptRunner : public ModelRunner {
 public:
  TorchScriptRunner(torch::jit::Module module, GraphPlan plan, ModelDescription description,
                    std::optional<ReturnedAttention> returned)
      : module_(std::move(module)),
        plan_(std::move(plan)),
        description_(std::move(description)),
        returned_(std::move(returned)) {}

  const ModelDescription& description() const override { return description_; }

  absl::Status Run(const std::vector<at::Tensor>& inputs, AttentionObserver& observer) const override {
    try {
      std::vector<at::Tensor> on_device;
      on_device.reserve(inputs.size());
      for (const at::Tensor& input : inputs) on_device.push_back(input.to(description_.device));
      if (!returned_.has_value()) return plan_.Run(StackOf(module_, on_device), &observer).status();
      auto outputs = plan_.Run(StackOf(module_, on_device), nullptr);
      if (!outputs.ok()) return outputs.status();
      ShowReturnedAttention(*returned_, *std::move(outputs), observer);
      return absl::OkStatus();
    } catch (const std::exception& error) {
      return ModelError(error);
    }
  }

 private:
  torch::jit::Module module_;
  GraphPlan plan_;
  ModelDescription description_;
  std::optional<ReturnedAttention> returned_;  // the plan is then the original
};

// Batches of the warm-up shapes on which the original runs, and what it gave.
struct Original {
  std::vector<WarmUpBatch> batches;
  std::vector<Stack> outputs;
};

// A model may refuse some token ids, or give NaN on them; that is for the request that holds them to learn.
// So other ids are tried a few times before the model itself is blamed.
constexpr uint64_t kAttempts = 4;

// (B, S) of batches of free length, none above `max_length` (0: unlimited). Shortest and longest differ by a
// power of two, 16 if they may, which tells the length of attention behind strides up to that; the lengths
// below the longest tell how it rounds, for strides up to 8.
std::vector<std::pair<int64_t, int64_t>> FreeShapes(int64_t max_length) {
  constexpr int64_t kLongest = 24;
  constexpr int64_t kLargestStride = 8;
  const int64_t longest = max_length > 0 ? std::min(max_length, kLongest) : kLongest;
  const auto difference = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(longest - 1)));
  const int64_t shortest = longest - difference;
  std::vector<std::pair<int64_t, int64_t>> shapes = {{1, shortest}, {2, longest}};
  for (int64_t length = std::max(shortest, longest - kLargestStride) + 1; length < longest; ++length) {
    shapes.emplace_back(1, length);
  }
  return shapes;
}

// (B, S) of the batches to try.
std::vector<std::pair<int64_t, int64_t>> WarmUpShapes(const ModelDescription& description,
                                                      const LoadOptions& options) {
  if (!options.warmup_shapes.empty()) return options.warmup_shapes;
  if (!description.takes_tensors()) return {{1, 8}, {2, 13}};
  if (!HasFreeLength(description.inputs)) return {{1, 1}, {2, 1}};
  return FreeShapes(description.max_sequence_length);
}

int64_t ShortestLength(const std::vector<std::pair<int64_t, int64_t>>& shapes) {
  int64_t shortest = shapes.front().second;
  for (const auto& shape : shapes) shortest = std::min(shortest, shape.second);
  return shortest;
}

absl::StatusOr<Original> RunOriginal(const torch::jit::Module& module, const GraphPlan& plan,
                                     const ModelDescription& description, const LoadOptions& options) {
  const std::vector<std::pair<int64_t, int64_t>> shapes = WarmUpShapes(description, options);
  absl::Status failure;
  for (uint64_t seed = 0; seed < kAttempts; ++seed) {
    Original original;
    bool finite = true;
    failure = absl::OkStatus();
    for (auto [batch_size, length] : shapes) {
      if (description.max_sequence_length > 0) length = std::min(length, description.max_sequence_length);
      original.batches.push_back(MakeWarmUpBatch(description.inputs, batch_size, length,
                                                 description.vocabulary_size, seed, description.device));
      auto outputs = plan.Run(StackOf(module, original.batches.back().inputs), nullptr);
      failure.Update(outputs.status());
      if (!failure.ok()) break;
      finite = finite && AllFinite(*outputs);
      original.outputs.push_back(*std::move(outputs));
    }
    if (failure.ok() && (finite || seed + 1 == kAttempts)) return original;
  }
  return absl::FailedPreconditionError(
      absl::StrCat("The model does not run on the warm-up shapes. ", failure.message(),
                   " Declare its inputs, or warmup_shapes that it takes, in manifest.yaml."));
}

using StorageBytes = std::unordered_map<const c10::StorageImpl*, size_t>;

void AddStorage(const at::Tensor& tensor, StorageBytes& storages) {
  if (tensor.has_storage()) storages[tensor.storage().unsafeGetStorageImpl()] = tensor.storage().nbytes();
}

void AddConstants(const torch::jit::Block& block, StorageBytes& storages) {
  for (const torch::jit::Node* node : block.nodes()) {
    for (const torch::jit::Block* inner : node->blocks()) AddConstants(*inner, storages);
    if (node->kind() != c10::prim::Constant) continue;
    const auto constant = torch::jit::toIValue(node->output());
    if (!constant.has_value()) continue;
    constant->visit([&storages](const c10::IValue& value) {
      if (value.isTensor()) AddStorage(value.toTensor(), storages);
      return false;  // go on into what it holds
    });
  }
}

// Of parameters, buffers and, in a frozen module, the constants of its graph; what they share counts once.
int64_t ResidentBytes(const torch::jit::Module& module, const torch::jit::Graph& graph) {
  StorageBytes storages;
  for (const at::Tensor& tensor : module.parameters()) AddStorage(tensor, storages);
  for (const at::Tensor& tensor : module.buffers()) AddStorage(tensor, storages);
  AddConstants(*graph.block(), storages);
  int64_t bytes = 0;
  for (const auto& [storage, size] : storages) bytes += static_cast<int64_t>(size);
  return bytes;
}

// The graph promises blocks, shapes may not allow them.
void NoteTaps(const std::vector<RecordedLayer>& layers, std::vector<AttentionSite>& sites) {
  for (const RecordedLayer& layer : layers) {
    AttentionSite& site = sites[layer.shape.site];
    if (layer.shape.in_blocks || site.kind == SiteKind::kTapped) continue;
    site.kind = SiteKind::kTapped;
    site.tap_reason = "its operands do not have the shape of its scores";
  }
}

// Takes what the model returns for its sites, if that is attention.
std::optional<ReturnedAttention> TakeReturned(const Original& original, const std::string& pattern,
                                              ModelDescription& description) {
  ReturnedAttention returned = FindReturnedAttention(original.batches, original.outputs);
  std::erase_if(returned.layers,
                [&pattern](const ReturnedLayer& layer) { return !RE2::PartialMatch(layer.path, pattern); });
  if (returned.layers.empty()) return std::nullopt;
  for (const ReturnedLayer& layer : returned.layers) {
    const auto index = static_cast<int32_t>(description.sites.size());
    description.sites.push_back({index, layer.path, SiteKind::kReturned, "output", 1});
    description.execution_order.push_back(index);
    description.site_heads.push_back(layer.heads);
  }
  description.one_sequence_at_a_time = returned.one_sequence_at_a_time;
  return returned;
}

absl::StatusOr<std::unique_ptr<ModelRunner>> Load(const std::string& path, const LoadOptions& options) {
  torch::jit::Module module = torch::jit::load(path, options.device);
  module.eval();
  const InlinedGraph inlined = InlineForward(module);
  MoveGraph(*inlined.graph, options.device);
  MoveGraph(*inlined.as_written, options.device);

  ModelDescription description;
  description.device = options.device;
  description.resident_bytes = ResidentBytes(module, *inlined.graph);
  auto inputs = BindForwardInputs(module.get_method("forward").function().getSchema(), options.input_names,
                                  options.declared_inputs);
  if (!inputs.ok()) return inputs.status();
  description.inputs = *std::move(inputs);
  const InputLimits limits = description.takes_tensors()
                                 ? InputLimits{}
                                 : FindInputLimits(module, inlined, description.inputs, options.device);
  description.vocabulary_size =
      options.vocabulary_size > 0 ? options.vocabulary_size : limits.vocabulary_size;
  description.max_sequence_length =
      options.max_sequence_length > 0 ? options.max_sequence_length : limits.max_sequence_length;
  description.token_type_vocabulary_size = limits.token_type_vocabulary_size;

  const auto original = RunOriginal(module, GraphPlan(inlined.as_written, "original"), description, options);
  if (!original.ok()) return original.status();
  auto attention = DiscoverAttention(module, inlined, original->batches, options.attention_layer_pattern);
  if (!attention.ok()) return attention.status();

  const auto rewritten = inlined.graph->copy();
  RewriteAttention(*rewritten, attention->site_of, inlined.EagerInBlocks(), attention->folded_heads);
  FuseGelu(*rewritten);
  const auto cut = rewritten->copy();
  CutAfterLastSite(*cut);
  const GraphPlan whole_plan(rewritten, "attention_observed");
  GraphPlan plan(cut, "attention_observed_and_cut");
  for (size_t i = 0; i < original->batches.size(); ++i) {
    const auto layers = CheckRewrittenGraph(module, whole_plan, plan, attention->sites, attention->runs[i],
                                            original->batches[i], original->outputs[i]);
    if (!layers.ok()) return layers.status();
    NoteTaps(*layers, attention->sites);
  }

  description.sites = std::move(attention->sites);
  description.skipped = std::move(attention->skipped);
  description.execution_order = std::move(attention->execution_order);
  description.layers_depend_on_input = attention->depends_on_input;
  description.site_heads = std::move(attention->site_heads);
  description.site_lengths = std::move(attention->site_lengths);
  std::optional<ReturnedAttention> returned;
  // Returned attention is known by its length, which must be that of the input.
  if (description.sites.empty() && HasFreeLength(description.inputs)) {
    returned = TakeReturned(*original, options.attention_layer_pattern, description);
    if (returned.has_value()) plan = GraphPlan(inlined.as_written, "original");
  }
  for (const int32_t heads : description.site_heads)
    description.num_heads = std::max(description.num_heads, heads);
  auto unmeasured = std::make_unique<TorchScriptRunner>(module, plan, description, returned);
  const auto cost = MeasureActivationCost(*unmeasured, ShortestLength(WarmUpShapes(description, options)));
  if (!cost.ok()) return cost.status();
  description.activation_cost = *cost;
  return std::make_unique<TorchScriptRunner>(std::move(module), std::move(plan), std::move(description),
                                             std::move(returned));
}

absl::Status MemoryRanOut() {
  return WithReason(absl::ResourceExhaustedError("Memory ran out while the model was loaded. Give the server "
                                                 "more memory, or fewer models, and load it again."),
                    memory::kOutOfMemoryReason);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelRunner>> LoadTorchScript(const std::string& path,
                                                             const LoadOptions& options) {
  memory::AllocationCounter counter;
  const memory::AllocationScope scope(counter);
  try {
    auto runner = Load(path, options);
    // Loading tries things out, so a failed allocation may have passed for a property of the model.
    if (counter.failed_allocations() > 0 || memory::IsOutOfMemory(runner.status())) return MemoryRanOut();
    return runner;
  } catch (const std::exception& error) {
    if (memory::IsOutOfMemory(error)) return MemoryRanOut();
    return WithLogDetail(absl::FailedPreconditionError(absl::StrCat(
                             "The file is not a TorchScript model that can be read. Torch says: ",
                             ReadTorchMessage(error.what()).Text(), ". Export it again.")),
                         error.what());
  }
}

}  // namespace attribution::capture
