// Cuts the sequences of a request into chunks whose predicted peak fits a number of bytes.
//
// Pure functions; any thread.
#ifndef SERVER_ADMISSION_CHUNK_PLANNER_H_
#define SERVER_ADMISSION_CHUNK_PLANNER_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "attribution/options.h"
#include "server/admission/memory_model.h"

namespace attribution::admission {

// Consecutive sequences [first_sequence, first_sequence + num_sequences) of a request, padded to the longest
// of them.
struct Chunk {
  int32_t first_sequence = 0;
  int32_t num_sequences = 0;
  int64_t padded_length = 0;

  friend bool operator==(const Chunk&, const Chunk&) = default;
};

struct ChunkPlan {
  int32_t chunk_size = 0;            // sequences of the largest chunk
  std::vector<Chunk> chunks;         // in request order, every sequence in exactly one
  int64_t estimated_peak_bytes = 0;  // the largest over the chunks, which run one after the other
  RolloutMethod rollout_method = RolloutMethod::kFullMatrix;
};

// All that the plan of a request depends on, besides free memory.
struct PlanRequest {
  ModelCost cost;
  OutputCost output;
  std::vector<int64_t> lengths;                 // of the sequences, in request order, each at least 1
  bool equal_lengths_only = false;              // for models without a mask input: nothing may be padded
  int32_t max_chunk_size = 0;                   // 0: none
  ChunkPolicy policy = ChunkPolicy::kAdaptive;  // kServerDefault is taken as kAdaptive
  std::optional<RowsAlone> rows_alone;          // if the rollout may be of these alone; else whole
};

// The shape of `chunk`, of sequences of these lengths.
ChunkShape ShapeOf(const Chunk& chunk, const std::vector<int64_t>& lengths);

// Cuts sequences in request order into chunks of `chunk_size`; the last may be smaller, and with
// `equal_lengths_only` a chunk also ends where the length changes. REQUIRES: chunk_size >= 1.
std::vector<Chunk> CutChunks(const std::vector<int64_t>& lengths, int32_t chunk_size,
                             bool equal_lengths_only);

// Returns the reference's chunk size: with layers·heads·batch·seq_length²·4 / 1e9 GB above 8 it is 32, above
// 4 it is 64, else the batch; never more than the batch.
int32_t ReferenceChunkSize(int32_t layers, int32_t heads, int64_t batch, int64_t seq_length);

// Returns how many sequences to try after a chunk of `chunk_size` ran out of memory, 0 if one did: REFERENCE
// goes to 16 at once, then halves; ADAPTIVE halves. REQUIRES: chunk_size >= 1.
int32_t ChunkSizeAfterOutOfMemory(ChunkPolicy policy, int32_t chunk_size);

// Returns the plan for `free_bytes`, or nothing if not even one sequence at a time fits. ADAPTIVE takes the
// largest chunk size that fits; REFERENCE halves the reference's until it fits. Where rows may be folded
// alone, that is the method if it fits and is predicted to be faster, or if nothing else fits; fold_time.h
// predicts. REQUIRES: lengths is not empty.
std::optional<ChunkPlan> PlanChunks(const PlanRequest& request, int64_t free_bytes);

// Returns the plan of one sequence at a time, by the method that needs less memory: the least of all.
ChunkPlan SmallestPlan(const PlanRequest& request);

// Returns the length of the longest single sequence whose prediction by either method fits `budget_bytes`; 0
// if none does. No more than the largest int32_t. The lengths of the request do not matter. One position more
// does not fit; where the prediction falls with the length, a longer one still may.
int64_t LongestSequenceThatFits(const PlanRequest& request, int64_t budget_bytes);

}  // namespace attribution::admission

#endif  // SERVER_ADMISSION_CHUNK_PLANNER_H_
