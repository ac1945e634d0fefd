#include "client/cli/npy.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace attribution::cli {
namespace {

static_assert(std::endian::native == std::endian::little, "'<f4' is little-endian.");

constexpr size_t kAlignment = 64;

}  // namespace

std::string NpyHeader(const std::vector<int64_t>& shape) {
  std::string sizes;
  for (const int64_t size : shape) absl::StrAppend(&sizes, size, ", ");
  std::string description =
      absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': (", sizes, "), }");
  std::string header("\x93NUMPY\x01\x00", 8);
  const size_t unpadded = header.size() + 2 + description.size() + 1;
  description.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ');
  description += '\n';
  header += static_cast<char>(description.size() & 0xFF);
  header += static_cast<char>(description.size() >> 8);
  return header + description;
}

std::string NpyOfRollouts(const Reply& reply) {
  size_t batch = reply.result.sequences.size();
  size_t length = 0;
  for (const auto& [sequence, rollout] : reply.rollouts) {
    batch = std::max(batch, static_cast<size_t>(sequence) + 1);
    length = std::max(length, static_cast<size_t>(rollout.columns));
  }
  std::string file =
      NpyHeader({static_cast<int64_t>(batch), static_cast<int64_t>(length), static_cast<int64_t>(length)});
  const size_t start = file.size();
  file.resize(start + batch * length * length * sizeof(float), '\0');
  for (const auto& [sequence, rollout] : reply.rollouts) {
    for (const auto& [row, cells] : rollout.rows) {
      const size_t first = (static_cast<size_t>(sequence) * length + static_cast<size_t>(row)) * length;
      std::memcpy(file.data() + start + first * sizeof(float), cells.data(), cells.size() * sizeof(float));
    }
  }
  return file;
}

}  // namespace attribution::cli
