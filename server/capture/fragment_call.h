// One call of a fragment: what is on its stack, constants, and sizes of what the fragment would make.
#ifndef SERVER_CAPTURE_FRAGMENT_CALL_H_
#define SERVER_CAPTURE_FRAGMENT_CALL_H_

#include <ATen/core/ivalue.h>
#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace attribution::capture {

// Belongs to one call on one thread. What a value is not known to be is nothing.
class FragmentCall {
 public:
  // `stack`: the inputs of the fragment. REQUIRES: it outlives this.
  explicit FragmentCall(at::ArrayRef<c10::IValue> stack) : stack_(stack) {}

  // Says how large `value` would be, if the fragment made it.
  void SetSizes(const torch::jit::Value* value, const std::vector<int64_t>& sizes) { sizes_[value] = sizes; }

  // An input or a constant.
  std::optional<c10::IValue> ValueOf(const torch::jit::Value* value) const;

  // A number that does not live on an accelerator; reading one there would wait for it.
  std::optional<at::Scalar> NumberOf(const torch::jit::Value* value) const;

  // A number, or one computed from others and from sizes.
  std::optional<int64_t> IntOf(const torch::jit::Value* value) const;
  std::optional<std::vector<int64_t>> IntsOf(const torch::jit::Value* list) const;

 private:
  std::optional<int64_t> SizeOf(const torch::jit::Value* value, const torch::jit::Value* dimension) const;

  at::ArrayRef<c10::IValue> stack_;
  std::map<const torch::jit::Value*, std::vector<int64_t>> sizes_;
};

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_FRAGMENT_CALL_H_
