#include "server/engine/tensor_inputs.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "attribution/dtype_names.h"
#include "attribution/status_details.h"
#include "server/capture/tensor_warm_up.h"
#include "server/engine/tensor_values.h"
#include "server/rollout/attention_header.h"

namespace attribution::engine {
namespace {

using capture::RunnerInput;

std::string FieldOf(size_t tensor, const char* part) {
  return absl::StrCat("tensors.tensors[", tensor, "].", part);
}

// What all tensors of a batch have in common, as far as they were looked at.
struct CommonSizes {
  int64_t batch = -1;
  int64_t free = -1;
};

// For each input the number of its tensor in the batch, or nothing if it is absent.
absl::StatusOr<std::vector<std::optional<size_t>>> FindTensors(const TensorBatch& batch,
                                                               const std::vector<RunnerInput>& inputs) {
  std::vector<std::optional<size_t>> found(inputs.size());
  for (size_t i = 0; i < batch.tensors.size(); ++i) {
    const std::string& name = batch.tensors[i].name;
    const auto input = std::find_if(inputs.begin(), inputs.end(),
                                    [&](const RunnerInput& known) { return known.name == name; });
    if (input == inputs.end()) {
      return InvalidField(FieldOf(i, "name"),
                          absl::StrCat("The model has no input of this name. Tensor ", i, " is not one of ",
                                       DescribeInputs(inputs), ". Send the model's own inputs."));
    }
    std::optional<size_t>& place = found[input - inputs.begin()];
    if (place.has_value()) {
      return InvalidField(FieldOf(i, "name"),
                          absl::StrCat("An input is given twice. Tensors ", *place, " and ", i,
                                       " are both \"", name, "\". Send it once."));
    }
    place = i;
  }
  return found;
}

absl::Status Missing(const RunnerInput& input) {
  return InvalidField("tensors.tensors", absl::StrCat("An input of the model is missing. There is no \"",
                                                      input.name, "\". Send ", DescribeInputs({input}), "."));
}

absl::Status WrongShape(size_t i, const RunnerInput& input, const std::vector<int64_t>& shape,
                        const std::string& why) {
  return InvalidField(FieldOf(i, "shape"),
                      absl::StrCat("The shape is not what the model takes. \"", input.name, "\" is ",
                                   rollout::ShapeText(shape), ", declared ", rollout::ShapeText(input.shape),
                                   "; ", why, "."));
}

// Checks the sizes of one tensor, and notes the batch and the free size of the first that has them.
absl::Status CheckShape(size_t i, const RunnerInput& input, const std::vector<int64_t>& shape,
                        const TensorRanges& ranges, CommonSizes& common) {
  if (shape.size() != input.shape.size()) {
    return WrongShape(i, input, shape, absl::StrCat("it must have ", input.shape.size(), " dimensions"));
  }
  for (size_t d = 0; d < shape.size(); ++d) {
    const auto wrong = [&](const std::string& why) {
      return WrongShape(i, input, shape, absl::StrCat("dimension ", d, " ", why));
    };
    if (shape[d] < 1) return wrong("must be at least 1");
    if (input.shape[d] >= 0) {
      if (shape[d] != input.shape[d]) return wrong(absl::StrCat("must be ", input.shape[d]));
      continue;
    }
    int64_t& size = d == 0 ? common.batch : common.free;
    const int64_t most = d == 0 ? ranges.max_sequences : ranges.max_length;
    if (most > 0 && shape[d] > most) return wrong(absl::StrCat("must be at most ", most));
    if (size >= 0 && shape[d] != size) {
      return wrong(d == 0 ? absl::StrCat("must be ", size, ", the batch of the other inputs")
                          : absl::StrCat("must be ", size, ", as the other free dimensions"));
    }
    size = shape[d];
  }
  return absl::OkStatus();
}

absl::Status CheckBytes(size_t i, const NamedTensor& tensor) {
  auto bytes = static_cast<int64_t>(c10::elementSize(capture::ScalarTypeOf(tensor.dtype)));
  bool fits = true;
  for (const int64_t size : tensor.shape) fits = fits && !__builtin_mul_overflow(bytes, size, &bytes);
  if (fits && static_cast<uint64_t>(bytes) == tensor.data.size()) return absl::OkStatus();
  return InvalidField(FieldOf(i, "data"),
                      absl::StrCat("The bytes do not fill the shape. data has ", tensor.data.size(),
                                   " bytes; ", rollout::ShapeText(tensor.shape), " of this dtype takes ",
                                   fits ? absl::StrCat(bytes) : "more than there can be",
                                   ". Send the whole tensor, row-major."));
}

// Makes a tensor that owns the bytes.
at::Tensor TensorOf(NamedTensor tensor) {
  const auto bytes = std::make_shared<std::string>(std::move(tensor.data));
  return at::from_blob(bytes->data(), tensor.shape, [bytes](void*) {}, capture::ScalarTypeOf(tensor.dtype));
}

bool SameKind(TensorDtype given, TensorDtype declared, bool any_integer) {
  const bool integers = (given == TensorDtype::kInt32 || given == TensorDtype::kInt64) &&
                        (declared == TensorDtype::kInt32 || declared == TensorDtype::kInt64);
  return given == declared || (any_integer && integers);
}

// Reads tensor `i` of the batch as `input`.
absl::StatusOr<at::Tensor> ReadTensor(TensorBatch& batch, size_t i, const RunnerInput& input,
                                      const TensorRanges& ranges, bool any_integer, CommonSizes& common) {
  NamedTensor& given = batch.tensors[i];
  if (!SameKind(given.dtype, input.dtype, any_integer)) {
    return InvalidField(FieldOf(i, "dtype"),
                        absl::StrCat("The dtype is not what the model takes. The model takes ",
                                     DescribeInputs({input}), ". Convert the tensor."));
  }
  if (absl::Status status = CheckShape(i, input, given.shape, ranges, common); !status.ok()) return status;
  if (absl::Status status = CheckBytes(i, given); !status.ok()) return status;
  if (given.dtype == TensorDtype::kBool) {
    if (absl::Status status = CheckBools(given.data, input.name, FieldOf(i, "data")); !status.ok())
      return status;
  }
  at::Tensor tensor = TensorOf(std::move(given));
  const bool types = input.role == capture::InputRole::kTokenTypeIds;
  const int64_t vocabulary = types ? ranges.token_type_vocabulary_size : ranges.vocabulary_size;
  if (absl::Status status = CheckValues(tensor, input, vocabulary, FieldOf(i, "data")); !status.ok())
    return status;
  return tensor;
}

}  // namespace

absl::StatusOr<TensorInputs> ReadTensors(TensorBatch batch, const std::vector<RunnerInput>& inputs,
                                         const TensorRanges& ranges) {
  const auto found = FindTensors(batch, inputs);
  if (!found.ok()) return found.status();
  TensorInputs result;
  CommonSizes common;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!(*found)[i].has_value()) return Missing(inputs[i]);
    auto tensor = ReadTensor(batch, *(*found)[i], inputs[i], ranges, /*any_integer=*/false, common);
    if (!tensor.ok()) return tensor.status();
    result.bytes += static_cast<int64_t>(tensor->nbytes());
    result.tensors.push_back(*std::move(tensor));
  }
  result.sequences = common.batch;
  if (common.free > 0) result.input_length = common.free;
  return result;
}

absl::StatusOr<std::vector<TokenSequence>> ReadTokens(TensorBatch batch,
                                                      const std::vector<RunnerInput>& inputs,
                                                      const TensorRanges& ranges) {
  const auto found = FindTensors(batch, inputs);
  if (!found.ok()) return found.status();
  std::vector<TokenSequence> sequences;
  CommonSizes common;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!(*found)[i].has_value()) {
      if (inputs[i].role == capture::InputRole::kInputIds) return Missing(inputs[i]);
      continue;
    }
    const auto tensor = ReadTensor(batch, *(*found)[i], inputs[i], ranges, /*any_integer=*/true, common);
    if (!tensor.ok()) return tensor.status();
    const at::Tensor values = tensor->to(at::kLong);
    sequences.resize(common.batch);
    for (int64_t b = 0; b < common.batch; ++b) {
      const auto* row = values.const_data_ptr<int64_t>() + b * common.free;
      TokenSequence& sequence = sequences[b];
      if (inputs[i].role == capture::InputRole::kInputIds) sequence.input_ids.assign(row, row + common.free);
      if (inputs[i].role == capture::InputRole::kAttentionMask)
        sequence.attention_mask.assign(row, row + common.free);
      if (inputs[i].role == capture::InputRole::kTokenTypeIds)
        sequence.token_type_ids.assign(row, row + common.free);
    }
  }
  return sequences;
}

std::vector<std::vector<int32_t>> MasksOf(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kInt);
  std::vector<std::vector<int32_t>> masks;
  for (int64_t b = 0; b < values.size(0); ++b) {
    const auto* row = values.const_data_ptr<int32_t>() + b * values.size(1);
    masks.emplace_back(row, row + values.size(1));
  }
  return masks;
}

std::string DescribeInputs(const std::vector<RunnerInput>& inputs) {
  return absl::StrJoin(inputs, "; ", [](std::string* text, const RunnerInput& input) {
    absl::StrAppend(text, input.name, " ", DtypeName(input.dtype), " ", rollout::ShapeText(input.shape));
  });
}

}  // namespace attribution::engine
