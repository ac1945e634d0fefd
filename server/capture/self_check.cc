#include "server/capture/self_check.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/capture/recording_observer.h"

namespace attribution::capture {
namespace {

// Largest allowed difference relative to the largest value of the original output. A wrong rewrite is off by
// its own size; two right ways to compute T5 in bfloat16 differ by 0.08 after three layers.
constexpr double kOutputTolerance = 1e-3;
constexpr double kHalfOutputTolerance = 2e-1;

constexpr const char* kWayOut = "Export the model again, or report it with the way it was exported.";

void CollectTensors(const c10::IValue& value, std::vector<at::Tensor>& tensors) {
  if (value.isTensor()) {
    tensors.push_back(value.toTensor());
  } else if (value.isTuple()) {
    for (const c10::IValue& element : value.toTupleRef().elements()) CollectTensors(element, tensors);
  } else if (value.isList()) {
    for (const c10::IValue& element : value.toListRef()) CollectTensors(element, tensors);
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) CollectTensors(entry.value(), tensors);
  }
}

std::vector<at::Tensor> FloatingTensors(const torch::jit::Stack& outputs) {
  std::vector<at::Tensor> tensors;
  for (const c10::IValue& output : outputs) CollectTensors(output, tensors);
  std::erase_if(tensors,
                [](const at::Tensor& tensor) { return !tensor.defined() || !tensor.is_floating_point(); });
  return tensors;
}

// Where `valid` [B, S] does not say that `tensor` holds padding: [B, S, …] or [S, B, …] bool, or true.
at::Tensor Meaningful(const at::Tensor& tensor, const at::Tensor& valid) {
  at::Tensor positions = valid.to(tensor.device());
  if (tensor.dim() < 2) return at::ones_like(tensor, at::kBool);
  if (tensor.size(0) != valid.size(0) || tensor.size(1) != valid.size(1)) {
    if (tensor.size(0) != valid.size(1) || tensor.size(1) != valid.size(0)) {
      return at::ones_like(tensor, at::kBool);
    }
    positions = positions.t();
  }
  while (positions.dim() < tensor.dim()) positions = positions.unsqueeze(-1);
  return positions.expand_as(tensor);
}

// What stands at padded positions means nothing: nested tensors, for one, leave zeros there.
absl::Status CompareOutputs(const torch::jit::Stack& actual, const torch::jit::Stack& expected,
                            const at::Tensor& valid) {
  const std::vector<at::Tensor> ours = FloatingTensors(actual);
  const std::vector<at::Tensor> originals = FloatingTensors(expected);
  if (ours.size() != originals.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat("The rewritten model has other outputs than the original. It gives ", ours.size(),
                     " tensors, the original ", originals.size(), ". ", kWayOut));
  }
  for (size_t i = 0; i < ours.size(); ++i) {
    const at::ScalarType dtype = originals[i].scalar_type();
    const double tolerance =
        dtype == at::kHalf || dtype == at::kBFloat16 ? kHalfOutputTolerance : kOutputTolerance;
    if (ours[i].sizes() != originals[i].sizes()) {
      return absl::FailedPreconditionError(
          absl::StrCat("The rewritten model gives an output of another shape. Output ", i, " has ",
                       ours[i].dim(), " dimensions and ", ours[i].numel(), " values, the original ",
                       originals[i].numel(), ". ", kWayOut));
    }
    const at::Tensor original = originals[i].to(at::kDouble);
    // What the original leaves undefined may differ.
    const at::Tensor known = original.isfinite().logical_and_(Meaningful(original, valid));
    const at::Tensor difference = ours[i].to(at::kDouble).sub(original).abs_().masked_select(known);
    if (difference.numel() == 0) continue;
    const double worst = difference.max().item<double>();
    const double scale = std::max(1.0, original.masked_select(known).abs_().max().item<double>());
    if (!(worst <= tolerance * scale)) {
      return absl::FailedPreconditionError(
          absl::StrCat("The rewritten model does not give the original's output. Output ", i, " differs by ",
                       worst, " where values reach ", scale, ". ", kWayOut));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLayers(const RecordingObserver& observer, const std::vector<AttentionSite>& sites,
                         const std::vector<int32_t>& order) {
  const std::vector<RecordedLayer>& layers = observer.layers();
  const auto same_site = [](const RecordedLayer& layer, int32_t site) { return layer.shape.site == site; };
  if (!std::equal(layers.begin(), layers.end(), order.begin(), order.end(), same_site)) {
    return absl::FailedPreconditionError(
        absl::StrCat("The rewritten model does not show every attention layer. It shows ", layers.size(),
                     " of ", order.size(), ". ", kWayOut));
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    if (!(layers[i].row_sum_error <= layers[i].row_sum_tolerance())) {
      return absl::FailedPreconditionError(
          absl::StrCat("The attention of a layer is not a probability distribution. Rows of layer ", i, " (",
                       sites[layers[i].shape.site].module_path, ") are off 1 by ", layers[i].row_sum_error,
                       ". ", kWayOut));
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool AllFinite(const torch::jit::Stack& outputs) {
  const std::vector<at::Tensor> tensors = FloatingTensors(outputs);
  return std::all_of(tensors.begin(), tensors.end(),
                     [](const at::Tensor& tensor) { return tensor.isfinite().all().item<bool>(); });
}

absl::StatusOr<std::vector<RecordedLayer>> CheckRewrittenGraph(
    const torch::jit::Module& module, const GraphPlan& rewritten, const GraphPlan& cut,
    const std::vector<AttentionSite>& sites, const std::vector<int32_t>& order, const WarmUpBatch& batch,
    const torch::jit::Stack& expected) {
  torch::jit::Stack stack{module._ivalue()};
  stack.insert(stack.end(), batch.inputs.begin(), batch.inputs.end());
  RecordingObserver whole(batch.valid, batch.any_length);
  const auto outputs = rewritten.Run(stack, &whole);
  if (!outputs.ok()) return outputs.status();
  if (absl::Status status = CompareOutputs(*outputs, expected, batch.valid); !status.ok()) return status;
  if (absl::Status status = CheckLayers(whole, sites, order); !status.ok()) return status;
  RecordingObserver shortened(batch.valid, batch.any_length);
  const auto none = cut.Run(stack, &shortened);
  if (!none.ok()) return none.status();
  if (absl::Status status = CheckLayers(shortened, sites, order); !status.ok()) return status;
  return shortened.layers();
}

}  // namespace attribution::capture
