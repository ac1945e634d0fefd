#include "client/cli/load_shapes.h"

#include <cmath>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/errors.h"

namespace attribution::cli {
namespace {

// Reads one shape. Whether it is one.
bool ReadShape(absl::string_view text, LoadShape& shape) {
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
  const std::vector<absl::string_view> sizes = absl::StrSplit(parts.first, 'x');
  if (sizes.size() != 2 || !absl::SimpleAtoi(sizes[0], &shape.batch) ||
      !absl::SimpleAtoi(sizes[1], &shape.length)) {
    return false;
  }
  const bool has_weight = text.size() > parts.first.size();
  if (has_weight && !absl::SimpleAtod(parts.second, &shape.weight)) return false;
  return shape.batch > 0 && shape.length > 0 && std::isfinite(shape.weight) && shape.weight > 0;
}

}  // namespace

std::string LoadShape::Name() const { return absl::StrCat(batch, "x", length); }

absl::StatusOr<std::vector<LoadShape>> ReadShapes(const std::string& text) {
  std::vector<LoadShape> shapes;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    if (!ReadShape(part, shapes.emplace_back())) {
      return UsageError(absl::StrCat("Not shapes: --shapes ", text,
                                     ". Write batch x length, and after a colon how often: 1x16,8x128:2."));
    }
  }
  return shapes;
}

size_t LoadChance::Shape(const std::vector<LoadShape>& shapes) {
  double sum = 0;
  for (const LoadShape& shape : shapes) sum += shape.weight;
  double left = std::uniform_real_distribution<double>(0, sum)(random_);
  for (size_t i = 0; i + 1 < shapes.size(); ++i) {
    left -= shapes[i].weight;
    if (left < 0) return i;
  }
  return shapes.size() - 1;
}

TokenBatch LoadChance::Tokens(const LoadShape& shape, int64_t vocabulary) {
  std::uniform_int_distribution<int64_t> id(0, vocabulary - 1);
  TokenBatch batch;
  batch.sequences.resize(static_cast<size_t>(shape.batch));
  for (TokenSequence& sequence : batch.sequences) {
    sequence.input_ids.resize(static_cast<size_t>(shape.length));
    for (int64_t& one : sequence.input_ids) one = id(random_);
  }
  return batch;
}

absl::Duration LoadChance::Gap(double rate) {
  return absl::Seconds(std::exponential_distribution<double>(rate)(random_));
}

}  // namespace attribution::cli
