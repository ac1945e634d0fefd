#include "client/cli/attention_files.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/errors.h"
#include "client/cli/npy_reader.h"

namespace attribution::cli {
namespace {

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

// Fills in form and sizes from the shape of one layer.
absl::Status FillSizes(const std::string& path, const std::vector<int64_t>& shape, AttentionHeader& header) {
  const size_t rank = shape.size();
  if (rank < 2 || rank > 4 || shape[rank - 1] != shape[rank - 2] || shape[rank - 1] == 0) {
    return UsageError(absl::StrCat("Not attention: ", path, ". A layer of it has the shape ",
                                   ShapeText(shape),
                                   "; it is [B, H, S, S], [B, S, S] or [S, S]. See --layers-first."));
  }
  header.form = rank == 4   ? AttentionForm::kPerHead
                : rank == 3 ? AttentionForm::kFused
                            : AttentionForm::kSingle;
  header.batch = rank > 2 ? shape[0] : 1;
  header.heads = rank > 3 ? shape[1] : 1;
  header.length = shape[rank - 1];
  return absl::OkStatus();
}

// Reads element `index` of a mask.
template <typename Element>
int32_t ValueAt(const std::string& data, size_t index) {
  Element value{};
  std::memcpy(&value, data.data() + index * sizeof(Element), sizeof(Element));
  return value == Element{0} ? 0 : value == Element{1} ? 1 : 2;  // the server refuses 2
}

}  // namespace

absl::StatusOr<AttentionFiles> AttentionFiles::Open(std::vector<std::string> paths, bool layers_first) {
  AttentionFiles files;
  files.paths_ = std::move(paths);
  if (files.paths_.empty()) return UsageError("No attention. Name one .npy file, or one for each layer.");
  const std::string& path = files.paths_.front();
  absl::StatusOr<NamedTensor> tensor = ReadNpyFile(path);
  if (!tensor.ok()) return tensor.status();
  files.tensor_ = *std::move(tensor);
  if (files.tensor_.dtype != TensorDtype::kFloat32 && files.tensor_.dtype != TensorDtype::kFloat16) {
    return UsageError(absl::StrCat("Not attention: ", path, ". Its elements must be float32 or float16."));
  }
  files.header_.dtype = files.tensor_.dtype;
  files.layer_shape_ = files.tensor_.shape;
  files.stacked_ = layers_first || files.layer_shape_.size() == 5;
  files.header_.layers = static_cast<int32_t>(files.paths_.size());
  if (files.stacked_) {
    if (files.paths_.size() > 1)
      return UsageError("Several files, and the first holds several layers. Give one file, or one a layer.");
    if (files.layer_shape_.empty() || files.layer_shape_.front() == 0)
      return UsageError(absl::StrCat("Not attention: ", path, ". It holds no layer."));
    files.header_.layers = static_cast<int32_t>(files.layer_shape_.front());
    files.layer_shape_.erase(files.layer_shape_.begin());
  }
  if (absl::Status status = FillSizes(path, files.layer_shape_, files.header_); !status.ok()) return status;
  return files;
}

absl::StatusOr<std::string> AttentionFiles::Layer(int32_t layer) {
  if (stacked_) {
    const size_t bytes = tensor_.data.size() / static_cast<size_t>(header_.layers);
    return tensor_.data.substr(static_cast<size_t>(layer) * bytes, bytes);
  }
  const std::string& path = paths_[static_cast<size_t>(layer)];
  if (layer > 0) {
    absl::StatusOr<NamedTensor> tensor = ReadNpyFile(path);
    if (!tensor.ok()) return tensor.status();
    tensor_ = *std::move(tensor);
  }
  if (tensor_.shape != layer_shape_ || tensor_.dtype != header_.dtype) {
    return UsageError(absl::StrCat("Layers differ: ", path, " is ", ShapeText(tensor_.shape), ", ",
                                   paths_.front(), " is ", ShapeText(layer_shape_),
                                   ". Every layer has the same shape and element type."));
  }
  return std::move(tensor_.data);
}

absl::StatusOr<std::vector<std::vector<int32_t>>> ReadMasks(const std::string& path,
                                                            const AttentionHeader& header) {
  const absl::StatusOr<NamedTensor> tensor = ReadNpyFile(path);
  if (!tensor.ok()) return tensor.status();
  const std::vector<int64_t> wanted = {header.batch, header.length};
  const bool single = header.batch == 1 && tensor->shape == std::vector<int64_t>{header.length};
  if (tensor->shape != wanted && !single) {
    return UsageError(absl::StrCat("Not the masks of the attention: ", path, " is ", ShapeText(tensor->shape),
                                   ", it must be ", ShapeText(wanted), "."));
  }
  int32_t (*value_at)(const std::string&, size_t) = nullptr;
  if (tensor->dtype == TensorDtype::kInt64) value_at = ValueAt<int64_t>;
  if (tensor->dtype == TensorDtype::kInt32) value_at = ValueAt<int32_t>;
  if (tensor->dtype == TensorDtype::kBool) value_at = ValueAt<int8_t>;
  if (value_at == nullptr)
    return UsageError(absl::StrCat("Not masks: ", path, ". Its elements must be int64, int32 or bool."));
  const auto length = static_cast<size_t>(header.length);
  std::vector<std::vector<int32_t>> masks(static_cast<size_t>(header.batch), std::vector<int32_t>(length));
  for (size_t b = 0; b < masks.size(); ++b) {
    for (size_t i = 0; i < length; ++i) masks[b][i] = value_at(tensor->data, b * length + i);
  }
  return masks;
}

}  // namespace attribution::cli
