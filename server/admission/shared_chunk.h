// Whether requests can run in one chunk together, and what each of them needs of its memory.
//
// A chunk that is shared costs less than its requests one by one: a forward pass of many short sequences
// takes little longer than one of few, and what the sequences use one after the other exists once.
// Not thread-safe.
#ifndef SERVER_ADMISSION_SHARED_CHUNK_H_
#define SERVER_ADMISSION_SHARED_CHUNK_H_

#include <cstdint>
#include <vector>

#include "server/admission/chunk_planner.h"

namespace attribution::admission {

// Padded positions of a request that is one chunk: its sequences times the longest of them.
int64_t PaddedTokens(const PlanRequest& request);

class SharedChunk {
 public:
  // Begins with one request, which is folded by `method`, as are all that join it. `request` outlives the
  // chunk.
  SharedChunk(const PlanRequest& request, RolloutMethod method, int64_t most_tokens);

  // Takes `request` in if all are of like length with it (of equal length, for a model without a mask), there
  // are at most most_tokens padded positions and max_chunk_size sequences, and at most `most_bytes` are to be
  // reserved; else changes nothing. Who needs whole rollouts has no part where rows are folded alone.
  // REQUIRES: it differs from the first in nothing but its sequences and what is sent of them.
  bool TryAdd(const PlanRequest& request, int64_t most_bytes);

  // What is reserved for all together: ReservedBytes() of what all hold.
  int64_t BytesToReserve() const { return ReservedBytes(EstimatedBytes(own_bytes_, shape_)); }

  size_t size() const { return parts_.size(); }

  // Of request `i`, in the order in which they were added: what it holds by itself, and its estimate, which
  // is that and its part of the rest.
  int64_t OwnBytes(size_t i) const { return parts_[i].own_bytes; }
  int64_t EstimateOf(size_t i) const;

 private:
  struct Part {
    int64_t own_bytes = 0;
    int64_t sequences = 0;
  };

  PeakParts PeakOf(const PlanRequest& request, const ChunkShape& shape) const;
  // Of a chunk of `shape` in which the requests hold `own_bytes` by themselves.
  int64_t EstimatedBytes(int64_t own_bytes, const ChunkShape& shape) const;

  const PlanRequest& first_;
  const RolloutMethod method_;
  const int64_t most_tokens_;
  std::vector<Part> parts_;
  int64_t own_bytes_ = 0;  // of all
  ChunkShape shape_;       // of all
  int64_t shortest_ = 0;   // of the longest of each request
};

}  // namespace attribution::admission

#endif  // SERVER_ADMISSION_SHARED_CHUNK_H_
