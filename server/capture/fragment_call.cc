#include "server/capture/fragment_call.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/ir/constants.h>

#include <string_view>

namespace attribution::capture {

using torch::jit::IValue;
using torch::jit::Node;
using torch::jit::Value;
using Sizes = std::vector<int64_t>;

std::optional<IValue> FragmentCall::ValueOf(const Value* value) const {
  if (value->node()->kind() == c10::prim::Param) return stack_[value->offset()];
  return torch::jit::toIValue(value);
}

std::optional<at::Scalar> FragmentCall::NumberOf(const Value* value) const {
  const auto given = ValueOf(value);
  if (!given.has_value()) return std::nullopt;
  if (given->isScalar()) return given->toScalar();
  if (!given->isTensor()) return std::nullopt;
  const at::Tensor& tensor = given->toTensor();
  if (tensor.dim() != 0 || !tensor.device().is_cpu() || tensor.is_complex()) return std::nullopt;
  return tensor.item();
}

std::optional<int64_t> FragmentCall::IntOf(const Value* value) const {
  if (const auto number = NumberOf(value); number.has_value()) return number->toLong();
  const Node* node = value->node();
  const std::string_view kind = node->kind().toQualString();
  if (kind == "prim::NumToTensor" || kind == "aten::Int") return IntOf(node->input(0));
  if (kind == "aten::size" && node->inputs().size() == 2) return SizeOf(node->input(0), node->input(1));
  if (kind != "aten::mul" && kind != "aten::floor_divide") return std::nullopt;
  const auto a = IntOf(node->input(0));
  const auto b = IntOf(node->input(1));
  if (!a.has_value() || !b.has_value()) return std::nullopt;
  if (kind == "aten::mul") return *a * *b;
  return *a < 0 || *b <= 0 ? std::nullopt : std::optional(*a / *b);
}

std::optional<Sizes> FragmentCall::IntsOf(const Value* list) const {
  if (const auto given = ValueOf(list); given.has_value() && given->isIntList()) return given->toIntVector();
  if (list->node()->kind() != c10::prim::ListConstruct) return std::nullopt;
  Sizes sizes;
  for (const Value* element : list->node()->inputs()) {
    const auto size = IntOf(element);
    if (!size.has_value()) return std::nullopt;
    sizes.push_back(*size);
  }
  return sizes;
}

std::optional<int64_t> FragmentCall::SizeOf(const Value* value, const Value* dimension) const {
  const auto index = IntOf(dimension);
  auto found = sizes_.find(value);
  // Casts and the like have the sizes of what they were given.
  while (found == sizes_.end() && !value->node()->inputs().empty()) {
    value = value->node()->input(0);
    found = sizes_.find(value);
  }
  if (!index.has_value() || found == sizes_.end()) return std::nullopt;
  const Sizes& sizes = found->second;
  const auto rank = static_cast<int64_t>(sizes.size());
  const int64_t position = *index < 0 ? *index + rank : *index;
  if (position < 0 || position >= rank) return std::nullopt;
  return sizes[position];
}

}  // namespace attribution::capture
