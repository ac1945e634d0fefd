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

}  // namespace

int64_t PaddedTokens(const PlanRequest& request) { return SequencesOf(request) * Longest(request); }

SharedChunk::SharedChunk(const PlanRequest& request, RolloutMethod method, int64_t most_tokens)
    : first_(request), method_(method), most_tokens_(most_tokens), shortest_(Longest(request)) {
  Add(request, PeakOf(request, SequencesOf(request), shortest_).own_bytes);
}

bool SharedChunk::TryAdd(const PlanRequest& request, int64_t most_bytes) {
  const int64_t length = Longest(request);
  const int64_t longest = std::max(longest_, length);
  const int64_t shortest = std::min(shortest_, length);
  const bool alike =
      request.equal_lengths_only ? longest == shortest && HasOneLength(request) : AreAlike(shortest, longest);
  const int64_t sequences = sequences_ + SequencesOf(request);
  if (method_ == RolloutMethod::kSelectedRows && !request.rows_alone.has_value()) return false;
  const bool too_many = request.max_chunk_size > 0 && sequences > request.max_chunk_size;
  if (!alike || too_many || sequences * longest > most_tokens_) return false;
  const int64_t own = PeakOf(request, SequencesOf(request), length).own_bytes;
  if (ReservedBytes(EstimatedBytes(own_bytes_ + own, sequences, longest)) > most_bytes) return false;
  shortest_ = shortest;
  Add(request, own);
  return true;
}

int64_t SharedChunk::EstimateOf(size_t i) const {
  const double part = static_cast<double>(parts_[i].sequences) / static_cast<double>(sequences_);
  const double common = part * static_cast<double>(CommonBytes(sequences_, longest_));
  return parts_[i].own_bytes + static_cast<int64_t>(common);
}

PeakParts SharedChunk::PeakOf(const PlanRequest& request, int64_t sequences, int64_t length) const {
  const bool alone = method_ == RolloutMethod::kSelectedRows;
  return PredictPeak(request.cost, {sequences, length}, request.output,
                     alone ? request.rows_alone : std::nullopt);
}

int64_t SharedChunk::CommonBytes(int64_t sequences, int64_t longest) const {
  return PeakOf(first_, sequences, longest).common_bytes;
}

int64_t SharedChunk::EstimatedBytes(int64_t own_bytes, int64_t sequences, int64_t longest) const {
  return PeakParts{own_bytes, CommonBytes(sequences, longest)}.total();
}

void SharedChunk::Add(const PlanRequest& request, int64_t own_bytes) {
  parts_.push_back({own_bytes, SequencesOf(request)});
  own_bytes_ += own_bytes;
  sequences_ += SequencesOf(request);
  longest_ = std::max(longest_, Longest(request));
}

}  // namespace attribution::admission
