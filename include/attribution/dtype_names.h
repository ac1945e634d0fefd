// The names of element types, as manifests, errors and the command line write them.
#ifndef ATTRIBUTION_DTYPE_NAMES_H_
#define ATTRIBUTION_DTYPE_NAMES_H_

#include <array>

#include "attribution/request.h"

namespace attribution {

inline constexpr std::array<TensorDtype, 6> kTensorDtypes = {TensorDtype::kFloat32,  TensorDtype::kFloat16,
                                                             TensorDtype::kBfloat16, TensorDtype::kInt64,
                                                             TensorDtype::kInt32,    TensorDtype::kBool};

// Returns a name such as "float32".
constexpr const char* DtypeName(TensorDtype dtype) {
  switch (dtype) {
    case TensorDtype::kFloat32:
      return "float32";
    case TensorDtype::kFloat16:
      return "float16";
    case TensorDtype::kBfloat16:
      return "bfloat16";
    case TensorDtype::kInt64:
      return "int64";
    case TensorDtype::kInt32:
      return "int32";
    case TensorDtype::kBool:
      return "bool";
  }
  return "unknown";
}

}  // namespace attribution

#endif  // ATTRIBUTION_DTYPE_NAMES_H_
