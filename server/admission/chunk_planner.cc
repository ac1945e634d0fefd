#include "server/admission/chunk_planner.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "server/admission/fold_time.h"

namespace attribution::admission {
namespace {

int64_t PeakOf(const PlanRequest& request, const ChunkShape& shape) {
  return PredictPeakBytes(request.cost, shape, request.output, request.rows_alone);
}

void Add(int64_t length, ChunkShape& shape) {
  ++shape.sequences;
  shape.padded_length = std::max(shape.padded_length, length);
  shape.positions += length;
  shape.cells += length * length;
}

RolloutMethod MethodOf(const PlanRequest& request) {
  return request.rows_alone.has_value() ? RolloutMethod::kSelectedRows : RolloutMethod::kFullMatrix;
}

// The same request, its rollout whole.
PlanRequest Whole(PlanRequest request) {
  request.rows_alone.reset();
  return request;
}

ChunkPlan PlanWithSize(const PlanRequest& request, int32_t chunk_size) {
  ChunkPlan plan;
  plan.rollout_method = MethodOf(request);
  plan.chunks = CutChunks(request.lengths, chunk_size, request.equal_lengths_only);
  for (const Chunk& chunk : plan.chunks) {
    plan.chunk_size = std::max(plan.chunk_size, chunk.num_sequences);
    plan.estimated_peak_bytes =
        std::max(plan.estimated_peak_bytes, PeakOf(request, ShapeOf(chunk, request.lengths)));
  }
  return plan;
}

int32_t LargestAllowed(const PlanRequest& request) {
  const auto batch = static_cast<int32_t>(request.lengths.size());
  return request.max_chunk_size > 0 ? std::min(batch, request.max_chunk_size) : batch;
}

// Returns the largest size, at most `limit`, whose first chunk fits; no larger one can. At least 1. Every
// size is tried: the prediction may fall where a longer sequence joins.
int32_t LargestWhoseFirstChunkFits(const PlanRequest& request, int32_t limit, int64_t free_bytes) {
  ChunkShape shape;
  int32_t largest = 1;
  for (int32_t size = 1; size <= limit; ++size) {
    const int64_t length = request.lengths[size - 1];
    // The first chunk ends here, whatever the size.
    if (request.equal_lengths_only && length != request.lengths.front())
      return largest == size - 1 ? limit : largest;
    Add(length, shape);
    if (PeakOf(request, shape) <= free_bytes) largest = size;
  }
  return largest;
}

int32_t FirstSizeToTry(const PlanRequest& request, int64_t free_bytes) {
  const int32_t limit = LargestAllowed(request);
  if (request.policy != ChunkPolicy::kReference)
    return LargestWhoseFirstChunkFits(request, limit, free_bytes);
  const int64_t longest = *std::max_element(request.lengths.begin(), request.lengths.end());
  return std::min(limit, ReferenceChunkSize(request.cost.layers, request.cost.heads,
                                            static_cast<int64_t>(request.lengths.size()), longest));
}

// Plans by rows alone if the request has them, else whole.
std::optional<ChunkPlan> PlanOneMethod(const PlanRequest& request, int64_t free_bytes) {
  // Sizes are tried one by one: the peak need not grow with the size, for a cut may part the long from the
  // short.
  for (int32_t size = FirstSizeToTry(request, free_bytes); size >= 1;) {
    ChunkPlan plan = PlanWithSize(request, size);
    if (plan.estimated_peak_bytes <= free_bytes) return plan;
    size = request.policy == ChunkPolicy::kReference ? size / 2 : size - 1;
  }
  return std::nullopt;
}

}  // namespace

ChunkShape ShapeOf(const Chunk& chunk, const std::vector<int64_t>& lengths) {
  ChunkShape shape;
  for (int32_t i = 0; i < chunk.num_sequences; ++i) Add(lengths[chunk.first_sequence + i], shape);
  return shape;
}

std::vector<Chunk> CutChunks(const std::vector<int64_t>& lengths, int32_t chunk_size,
                             bool equal_lengths_only) {
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < lengths.size(); ++i) {
    const bool full = chunks.empty() || chunks.back().num_sequences == chunk_size;
    if (full || (equal_lengths_only && chunks.back().padded_length != lengths[i])) {
      chunks.push_back({static_cast<int32_t>(i), 0, 0});
    }
    ++chunks.back().num_sequences;
    chunks.back().padded_length = std::max(chunks.back().padded_length, lengths[i]);
  }
  return chunks;
}

int32_t ReferenceChunkSize(int32_t layers, int32_t heads, int64_t batch, int64_t seq_length) {
  const double gigabytes = static_cast<double>(layers) * heads * static_cast<double>(batch) *
                           static_cast<double>(seq_length) * static_cast<double>(seq_length) * 4 / 1e9;
  int64_t size = batch;
  if (gigabytes > 8) {
    size = std::min<int64_t>(batch, 32);
  } else if (gigabytes > 4) {
    size = std::min<int64_t>(batch, 64);
  }
  return static_cast<int32_t>(std::min<int64_t>(size, std::numeric_limits<int32_t>::max()));
}

int32_t ChunkSizeAfterOutOfMemory(ChunkPolicy policy, int32_t chunk_size) {
  constexpr int32_t kReferenceRetry = 16;
  if (policy == ChunkPolicy::kReference && chunk_size > kReferenceRetry) return kReferenceRetry;
  return chunk_size / 2;
}

std::optional<ChunkPlan> PlanChunks(const PlanRequest& request, int64_t free_bytes) {
  if (!request.rows_alone.has_value()) return PlanOneMethod(request, free_bytes);
  std::optional<ChunkPlan> alone = PlanOneMethod(request, free_bytes);
  std::optional<ChunkPlan> whole = PlanOneMethod(Whole(request), free_bytes);
  if (!alone.has_value() || !whole.has_value()) return alone.has_value() ? alone : whole;
  const bool is_faster = SelectedRowsSeconds(*request.rows_alone, request.lengths) <
                         FullMatrixSeconds(request.rows_alone->layers, request.lengths);
  return is_faster ? alone : whole;
}

ChunkPlan SmallestPlan(const PlanRequest& request) {
  ChunkPlan plan = PlanWithSize(request, 1);
  if (!request.rows_alone.has_value()) return plan;
  ChunkPlan whole = PlanWithSize(Whole(request), 1);
  return plan.estimated_peak_bytes < whole.estimated_peak_bytes ? plan : whole;
}

int64_t LongestSequenceThatFits(const PlanRequest& request, int64_t budget_bytes) {
  const PlanRequest whole = Whole(request);
  int64_t fits = 0;
  int64_t too_long = int64_t{std::numeric_limits<int32_t>::max()} + 1;
  while (too_long - fits > 1) {
    const int64_t middle = fits + (too_long - fits) / 2;
    const int64_t peak = std::min(PeakOf(request, {1, middle}), PeakOf(whole, {1, middle}));
    (peak <= budget_bytes ? fits : too_long) = middle;
  }
  return fits;
}

}  // namespace attribution::admission
