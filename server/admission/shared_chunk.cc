#include "server/admission/shared_chunk.h"

#include <algorithm>
#include <optional>

namespace attribution::admission {
namespace {

int64_t Longest(const PlanRequest& request) {
  return *std::max_element(request.lengths.begin(), request.lengths.end());
}

int64_t SequencesOf(const PlanRequest& request) { return static_cast<int64_t>(request.lengths.size()); }

// Whether padding `shortest` to `longest` costs little: a quarter, or a few positions of short ones.
bool AreAlike(int64_t shortest, int64_t longest) { return longest <= shortest + shortest / 4 + 8; }

bool HasOneLength(const PlanRequest& request) {
  return std::all_of(request.lengths.begin(), request.lengths.end(),
                     [&](int64_t length) { return length == request.lengths.front(); });
}

// The shape of all its sequences as one chunk.
ChunkShape OneChunkOf(const PlanRequest& request) {
  return ShapeOf({0, static_cast<int32_t>(request.lengths.size()), Longest(request)}, request.lengths);
}

ChunkShape Together(const ChunkShape& a, const ChunkShape& b) {
  return {a.sequences + b.sequences, std::max(a.padded_length, b.padded_length), a.positions + b.positions,
          a.cells + b.cells};
}

}  // namespace

int64_t PaddedTokens(const PlanRequest& request) { return SequencesOf(request) * Longest(request); }

SharedChunk::SharedChunk(const PlanRequest& request, RolloutMethod method, int64_t most_tokens)
    : first_(request),
      method_(method),
      most_tokens_(most_tokens),
      shape_(OneChunkOf(request)),
      shortest_(shape_.padded_length) {
  own_bytes_ = PeakOf(request, shape_).own_bytes;
  parts_.push_back({own_bytes_, shape_.sequences});
}

bool SharedChunk::TryAdd(const PlanRequest& request, int64_t most_bytes) {
  const ChunkShape own = OneChunkOf(request);
  const ChunkShape all = Together(shape_, own);
  const int64_t shortest = std::min(shortest_, own.padded_length);
  const bool alike = request.equal_lengths_only ? all.padded_length == shortest && HasOneLength(request)
                                                : AreAlike(shortest, all.padded_length);
  if (method_ == RolloutMethod::kSelectedRows && !request.rows_alone.has_value()) return false;
  const bool too_many = request.max_chunk_size > 0 && all.sequences > request.max_chunk_size;
  if (!alike || too_many || all.sequences * all.padded_length > most_tokens_) return false;
  const int64_t own_bytes = PeakOf(request, own).own_bytes;
  if (ReservedBytes(EstimatedBytes(own_bytes_ + own_bytes, all)) > most_bytes) return false;
  parts_.push_back({own_bytes, own.sequences});
  own_bytes_ += own_bytes;
  shape_ = all;
  shortest_ = shortest;
  return true;
}

int64_t SharedChunk::EstimateOf(size_t i) const {
  const double part = static_cast<double>(parts_[i].sequences) / static_cast<double>(shape_.sequences);
  const double common = part * static_cast<double>(PeakOf(first_, shape_).common_bytes);
  return parts_[i].own_bytes + static_cast<int64_t>(common);
}

PeakParts SharedChunk::PeakOf(const PlanRequest& request, const ChunkShape& shape) const {
  const bool alone = method_ == RolloutMethod::kSelectedRows;
  return PredictPeak(request.cost, shape, request.output, alone ? request.rows_alone : std::nullopt);
}

int64_t SharedChunk::EstimatedBytes(int64_t own_bytes, const ChunkShape& shape) const {
  return PeakParts{own_bytes, PeakOf(first_, shape).common_bytes}.total();
}

}  // namespace attribution::admission
