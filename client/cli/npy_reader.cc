// The header is a Python dictionary as numpy.lib.format writes it: three keys in alphabetical order, which is
// all that is understood here.
#include "client/cli/npy_reader.h"

#include <re2/re2.h>

#include <array>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/cli/errors.h"

namespace attribution::cli {
namespace {

struct Element {
  const char* descr;
  TensorDtype dtype;
  uint64_t bytes;
};
constexpr std::array<Element, 5> kElements = {{{"<f4", TensorDtype::kFloat32, 4},
                                               {"<f2", TensorDtype::kFloat16, 2},
                                               {"<i8", TensorDtype::kInt64, 8},
                                               {"<i4", TensorDtype::kInt32, 4},
                                               {"|b1", TensorDtype::kBool, 1}}};

absl::Status NotRead(const std::string& why) { return absl::InvalidArgumentError(why); }

// Where the description and the data begin.
struct Layout {
  size_t description = 0;
  size_t data = 0;
};

absl::StatusOr<Layout> LayoutOf(const std::string& bytes) {
  if (bytes.size() < 12 || !absl::StartsWith(bytes, "\x93NUMPY")) return NotRead("It is not a .npy file.");
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(bytes[i])); };
  const size_t version = byte(6);
  if (version < 1 || version > 3) return NotRead(absl::StrCat("Its format has version ", version, "."));
  size_t length = byte(8) | byte(9) << 8;
  if (version > 1) length |= byte(10) << 16 | byte(11) << 24;
  const size_t description = version > 1 ? 12 : 10;
  if (bytes.size() - description < length) return NotRead("Its header is cut off.");
  return Layout{description, description + length};
}

absl::StatusOr<std::vector<int64_t>> ShapeOf(const std::string& sizes) {
  std::vector<int64_t> shape;
  for (absl::string_view part : absl::StrSplit(sizes, ',')) {
    part = absl::StripAsciiWhitespace(part);
    if (part.empty()) continue;
    if (!absl::SimpleAtoi(part, &shape.emplace_back()) || shape.back() < 0)
      return NotRead(absl::StrCat("Its shape is (", sizes, ")."));
  }
  return shape;
}

// Whether `size` bytes are those of the shape.
bool Fills(const std::vector<int64_t>& shape, uint64_t element_bytes, uint64_t size) {
  uint64_t bytes = element_bytes;
  for (const int64_t dimension : shape) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(dimension), &bytes)) return false;
  }
  return bytes == size;
}

}  // namespace

absl::StatusOr<NamedTensor> ReadNpy(std::string bytes) {
  const absl::StatusOr<Layout> layout = LayoutOf(bytes);
  if (!layout.ok()) return layout.status();
  const std::string description = bytes.substr(layout->description, layout->data - layout->description);
  static const RE2 pattern(
      R"(\{'descr': '([^']*)', 'fortran_order': (True|False), 'shape': \(([0-9, ]*)\),? *\}\s*)");
  std::string descr;
  std::string fortran;
  std::string sizes;
  if (!RE2::FullMatch(description, pattern, &descr, &fortran, &sizes))
    return NotRead("Its header is not one of a plain array.");
  if (fortran == "True") return NotRead("It is in Fortran order. Save numpy.ascontiguousarray of it.");
  absl::StatusOr<std::vector<int64_t>> shape = ShapeOf(sizes);
  if (!shape.ok()) return shape.status();
  for (const Element& element : kElements) {
    if (descr != element.descr) continue;
    if (!Fills(*shape, element.bytes, bytes.size() - layout->data))
      return NotRead(absl::StrCat("Its data does not fill its shape (", sizes, ")."));
    bytes.erase(0, layout->data);
    return NamedTensor{"", element.dtype, *std::move(shape), std::move(bytes)};
  }
  return NotRead(absl::StrCat("Its dtype is ", descr, "; read are <f4, <f2, <i8, <i4 and |b1."));
}

absl::StatusOr<NamedTensor> ReadNpyFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return UsageError(absl::StrCat("Cannot read the file: ", path, "."));
  std::ostringstream bytes;
  bytes << file.rdbuf();
  absl::StatusOr<NamedTensor> read = ReadNpy(std::move(bytes).str());
  if (read.ok()) return read;
  return UsageError(absl::StrCat("Cannot read the array: ", path, ". ", read.status().message()));
}

}  // namespace attribution::cli
