// AllocationCounter counts the bytes that torch allocates for one job, on every device, and holds the limit
// of what the job may allocate.
//
// A counter belongs to one job. It is installed on a thread by an AllocationScope, several times one after
// another and on different threads if need be; its methods may be called from any thread. It counts what
// happens on the threads where it is installed: a block that is freed elsewhere counts as live. ATen's
// operators allocate on the calling thread only. at::ThreadLocalStateGuard carries the counter, not an
// AttentionScope, onto the threads that help with an at::parallel_for.
//
// Torch allocates first and reports to the counter afterwards, so the counter cannot refuse by itself:
// refusing_allocator.h asks CheckAllocation() before it allocates.
#ifndef SERVER_MEMORY_ALLOCATION_COUNTER_H_
#define SERVER_MEMORY_ALLOCATION_COUNTER_H_

#include <c10/util/ThreadLocalDebugInfo.h>

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>

namespace attribution::memory {

inline constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

// Adds up what several counters count together. Thread-safe.
class Ledger {
 public:
  // The most bytes that lived at once.
  int64_t peak_bytes() const { return peak_; }

 private:
  friend class AllocationCounter;
  void Add(int64_t bytes);

  std::atomic<int64_t> live_ = 0;
  std::atomic<int64_t> peak_ = 0;
};

class AllocationCounter {
 public:
  // Counts into `ledger` too, which outlives the counter, unless it is null. What still lives at its end does
  // not count any more.
  explicit AllocationCounter(Ledger* ledger = nullptr);
  ~AllocationCounter();
  AllocationCounter(const AllocationCounter&) = delete;
  AllocationCounter& operator=(const AllocationCounter&) = delete;

  // Bytes that live now, and the most that lived at once, external ones included. Blocks allocated outside
  // the counter's scopes do not count, nor does freeing them.
  int64_t live_bytes() const;
  int64_t peak_bytes() const;

  // The most bytes that lived at once since the last call, or since the start. Does not change peak_bytes().
  int64_t TakeRecentPeak();

  // The most bytes that lived at once in blocks allocated inside an AttentionScope.
  int64_t attention_peak_bytes() const;

  // Counts memory that torch does not know of, such as replies waiting to be sent; negative when it is given
  // back.
  void AddExternal(int64_t bytes);

  // The most bytes that may live at once from now on; kUnlimited to begin with. Threads that allocate at the
  // same moment may together exceed it by their last blocks.
  void SetLimit(int64_t bytes);

  // Whether more lived at once than the limit allows now. On a device whose allocator does not refuse, such
  // as CUDA, this is how an excess is noticed, after it happened.
  bool exceeded_limit() const;

  // The most bytes that would have lived at once had the limit refused nothing, as far as is known; 0 if it
  // did not refuse.
  int64_t refused_bytes() const;

  // How many allocations inside the counter's scopes failed, or were refused.
  int64_t failed_allocations() const;

 private:
  friend class AllocationScope;
  friend void CheckAllocation(int64_t bytes);
  friend void CheckLimit();
  friend int64_t FailedAllocations();
  class Recorder;

  // What the counter of this thread keeps, or null.
  static Recorder* Current();

  const std::shared_ptr<Recorder> recorder_;
};

// Installs a counter on this thread for as long as the scope lives, an exception included. Scopes nest: the
// innermost counter counts, so a block of an outer counter that is freed inside counts as live there.
class AllocationScope {
 public:
  explicit AllocationScope(AllocationCounter& counter);

 private:
  c10::DebugInfoGuard guard_;
};

// Marks what this thread allocates as the attention's own: rollout, scores, head means. Nests. Does nothing
// without a counter.
class AttentionScope {
 public:
  AttentionScope();
  ~AttentionScope();
  AttentionScope(const AttentionScope&) = delete;
  AttentionScope& operator=(const AttentionScope&) = delete;
};

// Throws c10::OutOfMemoryError, and counts a failed allocation, if `bytes` more would exceed the limit of
// this thread's counter. Does nothing without a counter.
void CheckAllocation(int64_t bytes);

// Throws c10::OutOfMemoryError, and counts a failed allocation, if more lived at once than the limit of this
// thread's counter allows. For devices whose allocator does not refuse: asked between two layers, it ends a
// request that went beyond its memory. Does nothing without a counter.
void CheckLimit();

// AllocationCounter::failed_allocations() of this thread's counter; 0 without one.
int64_t FailedAllocations();

}  // namespace attribution::memory

#endif  // SERVER_MEMORY_ALLOCATION_COUNTER_H_
