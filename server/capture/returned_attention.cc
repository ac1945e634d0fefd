#include "server/capture/returned_attention.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/capture/whole_attention.h"

namespace attribution::capture {
namespace {

struct Leaf {
  std::string path;
  at::Tensor tensor;
};

std::string KeyText(const c10::IValue& key) {
  if (key.isString()) return key.toStringRef();
  return key.isInt() ? absl::StrCat(key.toInt()) : "key";
}

void AddLeaves(const c10::IValue& value, const std::string& path, std::vector<Leaf>& leaves) {
  if (value.isTensor()) {
    leaves.push_back({path, value.toTensor()});
  } else if (value.isTuple()) {
    const auto& elements = value.toTupleRef().elements();
    for (size_t i = 0; i < elements.size(); ++i) AddLeaves(elements[i], absl::StrCat(path, ".", i), leaves);
  } else if (value.isList()) {
    const c10::ArrayRef<c10::IValue> elements = value.toListRef();
    for (size_t i = 0; i < elements.size(); ++i) AddLeaves(elements[i], absl::StrCat(path, ".", i), leaves);
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) {
      AddLeaves(entry.value(), absl::StrCat(path, ".", KeyText(entry.key())), leaves);
    }
  }
}

std::vector<Leaf> LeavesOf(const torch::jit::Stack& outputs) {
  std::vector<Leaf> leaves;
  for (const c10::IValue& output : outputs) AddLeaves(output, "output", leaves);
  return leaves;
}

// [B, H, S, S] of any accepted form; undefined of another. `sequences`: B.
at::Tensor InFourDimensions(const at::Tensor& tensor, int64_t sequences) {
  if (!tensor.defined() || !tensor.is_floating_point() || tensor.dim() < 2 || tensor.dim() > 4 ||
      tensor.size(-1) != tensor.size(-2)) {
    return {};
  }
  if (tensor.dim() == 2) return tensor.unsqueeze(0).unsqueeze(0);
  if (tensor.size(0) != sequences) return {};
  return tensor.dim() == 3 ? tensor.unsqueeze(1) : tensor;
}

// Whether the cells of valid rows and columns could be attention: finite and not negative.
bool CouldBeAttention(const at::Tensor& apart, const at::Tensor& valid) {
  if (apart.size(-1) != valid.size(1)) return false;
  const at::Tensor cells = valid.unsqueeze(2).logical_and(valid.unsqueeze(1)).unsqueeze(1);  // [B, 1, S, S]
  const at::Tensor own = cells.narrow(0, 0, apart.size(0)).to(apart.device());
  const at::Tensor values = apart.to(at::kFloat).masked_select(own);
  return values.isfinite().all().item<bool>() && values.ge(0).all().item<bool>();
}

}  // namespace

ReturnedAttention FindReturnedAttention(const std::vector<WarmUpBatch>& batches,
                                        const std::vector<torch::jit::Stack>& outputs) {
  std::vector<std::vector<Leaf>> runs;
  for (const torch::jit::Stack& output : outputs) runs.push_back(LeavesOf(output));
  ReturnedAttention found;
  for (size_t leaf = 0; leaf < runs.front().size(); ++leaf) {
    ReturnedLayer layer{leaf, runs.front()[leaf].path, 1};
    bool attention = true;
    bool single = false;
    for (size_t run = 0; run < runs.size() && attention; ++run) {
      const int64_t sequences = batches[run].valid.size(0);
      attention = runs[run].size() == runs.front().size() && runs[run][leaf].path == layer.path;
      if (!attention) break;
      const at::Tensor& tensor = runs[run][leaf].tensor;
      const at::Tensor apart = InFourDimensions(tensor, sequences);
      attention = apart.defined() && CouldBeAttention(apart, batches[run].valid);
      if (!attention) break;
      layer.heads = static_cast<int32_t>(apart.size(1));
      single = single || (tensor.dim() == 2 && sequences > 1);
    }
    if (!attention) continue;
    found.one_sequence_at_a_time = found.one_sequence_at_a_time || single;
    found.layers.push_back(std::move(layer));
  }
  return found;
}

void ShowReturnedAttention(const ReturnedAttention& attention, torch::jit::Stack outputs,
                           AttentionObserver& observer) {
  std::vector<at::Tensor> layers;
  {
    std::vector<Leaf> leaves = LeavesOf(outputs);
    outputs.clear();
    for (const ReturnedLayer& layer : attention.layers) {
      layers.push_back(layer.leaf < leaves.size() ? std::move(leaves[layer.leaf].tensor) : at::Tensor());
    }
  }
  for (size_t site = 0; site < layers.size(); ++site) {
    at::Tensor layer = std::move(layers[site]);
    if (!layer.defined()) continue;
    if (layer.dim() == 2) layer = layer.unsqueeze(0);
    if (!ShowProbabilities(layer, static_cast<int32_t>(site), /*heads=*/1, observer)) return;
  }
}

}  // namespace attribution::capture
