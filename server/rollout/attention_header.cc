#include "server/rollout/attention_header.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "attribution/status_details.h"

namespace attribution::rollout {
namespace {

absl::Status CheckPositive(const char* field, int64_t value) {
  if (value > 0) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("A size is not positive. ", field, " is ", value,
                                          ". Say how large the attention is."));
}

absl::Status CheckDtype(TensorDtype dtype) {
  switch (dtype) {
    case TensorDtype::kFloat32:
    case TensorDtype::kFloat16:
    case TensorDtype::kBfloat16:
      return absl::OkStatus();
    case TensorDtype::kInt64:
    case TensorDtype::kInt32:
    case TensorDtype::kBool:
      break;
  }
  return InvalidField("header.dtype",
                      absl::StrCat("Attention has no such element type. dtype is number ",
                                   static_cast<int>(dtype), ". Send float32, float16 or bfloat16."));
}

absl::Status CheckForm(const AttentionHeader& header) {
  const std::string sizes = absl::StrCat("batch is ", header.batch, ", heads is ", header.heads, ". ");
  switch (header.form) {
    case AttentionForm::kPerHead:
      return absl::OkStatus();
    case AttentionForm::kFused:
    case AttentionForm::kSingle:
      if (header.heads != 1) {
        return InvalidField("header.heads", absl::StrCat("Attention that is fused has one head. ", sizes,
                                                         "Set heads to 1, or send the heads."));
      }
      if (header.form == AttentionForm::kSingle && header.batch != 1) {
        return InvalidField("header.batch", absl::StrCat("A single matrix is one sequence. ", sizes,
                                                         "Set batch to 1, or send [batch, S, S]."));
      }
      return absl::OkStatus();
  }
  return InvalidField("header.form",
                      absl::StrCat("Unknown form of attention. Its number is ", static_cast<int>(header.form),
                                   ". Send [B, H, S, S], [B, S, S] or [S, S]."));
}

// Counts four bytes a cell whatever the dtype: the rollout is float32.
absl::Status CheckSize(const AttentionHeader& header) {
  int64_t bytes = sizeof(float);
  for (const int64_t size : LayerSizes(header)) {
    if (size > std::numeric_limits<int64_t>::max() / bytes) {
      return InvalidField("header.seq_length",
                          absl::StrCat("A layer is too large. Its shape is ", ShapeText(LayerSizes(header)),
                                       ", which is more bytes than 64 bits can count."));
    }
    bytes *= size;
  }
  return absl::OkStatus();
}

absl::Status CheckMask(const std::vector<int32_t>& mask, int64_t length, const std::string& field) {
  if (mask.empty()) return absl::OkStatus();
  if (static_cast<int64_t>(mask.size()) != length) {
    return InvalidField(field, absl::StrCat("A mask is not as long as its sequence. ", field, " has ",
                                            mask.size(), " values for ", length, " positions."));
  }
  for (size_t i = 0; i < mask.size(); ++i) {
    if (mask[i] == 0 || mask[i] == 1) continue;
    return InvalidField(field, absl::StrCat("A mask value is neither 0 nor 1. It is ", mask[i],
                                            " at position ", i, " of ", field, "."));
  }
  if (std::find(mask.begin(), mask.end(), 1) == mask.end()) {
    return InvalidField(field, absl::StrCat("A sequence has no valid position. ", field,
                                            " is 0 everywhere. Leave the sequence out."));
  }
  return absl::OkStatus();
}

absl::Status CheckMasks(const AttentionHeader& header) {
  if (header.masks.empty()) return absl::OkStatus();
  if (static_cast<int64_t>(header.masks.size()) != header.batch) {
    return InvalidField("header.masks",
                        absl::StrCat("There are not as many masks as sequences. masks has ",
                                     header.masks.size(), " for a batch of ", header.batch,
                                     ". Send one a sequence, empty if all is valid, or none."));
  }
  for (size_t b = 0; b < header.masks.size(); ++b) {
    const std::string field = absl::StrCat("header.masks[", b, "]");
    if (absl::Status status = CheckMask(header.masks[b], header.length, field); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckHeader(const AttentionHeader& header) {
  for (const auto& [field, size] : {std::pair<const char*, int64_t>{"header.batch", header.batch},
                                    {"header.heads", header.heads},
                                    {"header.seq_length", header.length},
                                    {"header.num_layers", header.layers}}) {
    if (absl::Status status = CheckPositive(field, size); !status.ok()) return status;
  }
  if (absl::Status status = CheckDtype(header.dtype); !status.ok()) return status;
  if (absl::Status status = CheckForm(header); !status.ok()) return status;
  if (absl::Status status = CheckSize(header); !status.ok()) return status;
  return CheckMasks(header);
}

int64_t CellBytes(const AttentionHeader& header) { return header.dtype == TensorDtype::kFloat32 ? 4 : 2; }

int64_t LayerBytes(const AttentionHeader& header) {
  return header.batch * header.heads * header.length * header.length * CellBytes(header);
}

std::vector<int64_t> LayerSizes(const AttentionHeader& header) {
  switch (header.form) {
    case AttentionForm::kPerHead:
      break;
    case AttentionForm::kFused:
      return {header.batch, header.length, header.length};
    case AttentionForm::kSingle:
      return {header.length, header.length};
  }
  return {header.batch, header.heads, header.length, header.length};
}

std::string ShapeText(const std::vector<int64_t>& sizes) {
  return absl::StrCat("[", absl::StrJoin(sizes, ", "), "]");
}

}  // namespace attribution::rollout
