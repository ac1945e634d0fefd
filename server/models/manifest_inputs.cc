#include "server/models/manifest_inputs.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "attribution/dtype_names.h"
#include "server/models/manifest_values.h"

namespace attribution::models {
namespace {

constexpr int64_t kMaxDimensions = 8;
// Elements of one sequence, free dimensions not counted: warm-up makes a few of them.
constexpr int64_t kMaxElements = int64_t{1} << 26;

absl::Status ReadDtype(const YAML::Node& node, absl::string_view key, TensorDtype* dtype) {
  std::string name;
  if (absl::Status status = ReadText(node, key, &name); !status.ok()) return status;
  for (const TensorDtype known : kTensorDtypes) {
    if (name != DtypeName(known)) continue;
    *dtype = known;
    return absl::OkStatus();
  }
  return Error(node, key, "has a dtype that is none of float32, float16, bfloat16, int64, int32, bool.");
}

absl::Status ReadShape(const YAML::Node& node, absl::string_view key, std::vector<int64_t>* shape) {
  if (!node.IsSequence() || node.size() == 0 || node.size() > kMaxDimensions) {
    return Error(node, key, absl::StrCat("must have shapes of 1 to ", kMaxDimensions, " dimensions."));
  }
  int64_t elements = 1;
  for (const YAML::Node& entry : node) {
    int64_t size = 0;
    if (absl::Status status = ReadInteger(entry, key, -1, kMaxElements, &size); !status.ok()) return status;
    if (size == 0) return Error(entry, key, "has a shape with a dimension of 0.");
    if (shape->empty() && size != -1) {
      return Error(entry, key, "has a shape that does not begin with -1. Dimension 0 is the batch.");
    }
    if (size > 0) elements *= size;
    if (elements > kMaxElements) {
      return Error(node, key, absl::StrCat("has a shape of more than ", kMaxElements, " values a sequence."));
    }
    shape->push_back(size);
  }
  return absl::OkStatus();
}

// Whether a mapping holds each of `known` at most once and nothing else.
bool HoldsOnly(const YAML::Node& node, std::set<std::string> known) {
  for (const auto& entry : node) {
    if (!entry.first.IsScalar() || known.erase(entry.first.Scalar()) == 0) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<ModelInput> ReadDeclaredInput(const YAML::Node& node, absl::string_view key) {
  if (!HoldsOnly(node, {"name", "dtype", "shape"}) || node.size() != 3)
    return Error(node, key, "must hold names, or mappings of name, dtype and shape.");
  ModelInput input;
  if (absl::Status status = ReadText(node["name"], key, &input.name); !status.ok()) return status;
  if (absl::Status status = ReadDtype(node["dtype"], key, &input.dtype); !status.ok()) return status;
  if (absl::Status status = ReadShape(node["shape"], key, &input.shape); !status.ok()) return status;
  return input;
}

absl::StatusOr<PatchGrid> ReadPatchGrid(const YAML::Node& node, absl::string_view key) {
  constexpr int64_t kMaxSide = 65536;
  const bool complete = node.IsMap() && node["rows"] && node["columns"];
  if (!complete || !HoldsOnly(node, {"rows", "columns", "first_position"})) {
    return Error(node, key, "must be a mapping of rows, columns and first_position.");
  }
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t first = 0;
  if (absl::Status status = ReadInteger(node["rows"], key, 1, kMaxSide, &rows); !status.ok()) return status;
  if (absl::Status status = ReadInteger(node["columns"], key, 1, kMaxSide, &columns); !status.ok())
    return status;
  if (node["first_position"]) {
    if (absl::Status status = ReadInteger(node["first_position"], key, 0, kMaxSide, &first); !status.ok())
      return status;
  }
  return PatchGrid{static_cast<int32_t>(rows), static_cast<int32_t>(columns), static_cast<int32_t>(first)};
}

}  // namespace attribution::models
