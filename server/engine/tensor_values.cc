#include "server/engine/tensor_values.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/capture/tensor_warm_up.h"

namespace attribution::engine {
namespace {

// The flat index of the first true value, or -1.
int64_t FirstTrue(const at::Tensor& flags) {
  if (!flags.any().item<bool>()) return -1;
  return flags.flatten().to(at::kByte).argmax().item<int64_t>();
}

std::string ValueAt(const at::Tensor& tensor, int64_t index) {
  const at::Tensor value = tensor.flatten()[index];
  return tensor.is_floating_point() ? absl::StrCat(value.item<double>())
                                    : absl::StrCat(value.item<int64_t>());
}

absl::Status CheckMask(const at::Tensor& mask, const std::string& name, const std::string& field) {
  const int64_t index = FirstTrue(mask.ne(0).logical_and(mask.ne(1)));
  if (index >= 0) {
    return InvalidField(
        field, absl::StrCat("An attention mask value is neither 0 nor 1. It is ", ValueAt(mask, index),
                            " at flat index ", index, " of \"", name, "\"."));
  }
  const int64_t empty = FirstTrue(mask.ne(0).flatten(1).any(1).logical_not());
  if (empty < 0) return absl::OkStatus();
  return InvalidField(
      field, absl::StrCat("A sequence has no valid position. \"", name, "\" is 0 everywhere in sequence ",
                          empty, ". Leave the sequence out."));
}

absl::Status CheckIds(const at::Tensor& ids, int64_t vocabulary_size, const std::string& name,
                      const std::string& field) {
  at::Tensor wrong = ids.lt(0);
  if (vocabulary_size > 0) wrong = wrong.logical_or(ids.ge(vocabulary_size));
  const int64_t index = FirstTrue(wrong);
  if (index < 0) return absl::OkStatus();
  const std::string range =
      vocabulary_size == 0 ? "not negative" : absl::StrCat("in [0, ", vocabulary_size, ")");
  return InvalidField(
      field, absl::StrCat("An id is out of range. It is ", ValueAt(ids, index), " at flat index ", index,
                          " of \"", name, "\"; it must be ", range, ". Ids at masked positions count too."));
}

}  // namespace

absl::Status CheckBools(const std::string& bytes, const std::string& name, const std::string& field) {
  const auto wrong = std::find_if(bytes.begin(), bytes.end(), [](char c) { return c != 0 && c != 1; });
  if (wrong == bytes.end()) return absl::OkStatus();
  return InvalidField(
      field,
      absl::StrCat("A bool is neither 0 nor 1. It is ", int{static_cast<unsigned char>(*wrong)},
                   " at flat index ", wrong - bytes.begin(), " of \"", name, "\". Send one byte a value."));
}

absl::Status CheckValues(const at::Tensor& tensor, const capture::RunnerInput& input, int64_t vocabulary_size,
                         const std::string& field) {
  if (tensor.is_floating_point()) {
    const int64_t index = FirstTrue(tensor.isfinite().logical_not());
    if (index >= 0) {
      return InvalidField(
          field, absl::StrCat("A value is not finite. It is ", ValueAt(tensor, index), " at flat index ",
                              index, " of \"", input.name, "\". Send finite values."));
    }
  }
  if (capture::IsMask(input) && tensor.dim() > 1) return CheckMask(tensor, input.name, field);
  const bool types = input.role == capture::InputRole::kTokenTypeIds;
  if (types || capture::IsTokenIds(input)) return CheckIds(tensor, vocabulary_size, input.name, field);
  return absl::OkStatus();
}

}  // namespace attribution::engine
