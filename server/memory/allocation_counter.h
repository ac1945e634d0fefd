// AllocationCounter counts the bytes that torch allocates for one job, on every device.
//
// A counter belongs to one job. It is installed on a thread by an AllocationScope, several times one after
// another and on different threads if need be; its methods may be called from any thread. It counts what
// happens on the threads where it is installed: a block that is freed elsewhere counts as live. ATen's
// operators allocate on the calling thread only. It cannot refuse: torch allocates first and reports
// afterwards.
#ifndef SERVER_MEMORY_ALLOCATION_COUNTER_H_
#define SERVER_MEMORY_ALLOCATION_COUNTER_H_

#include <c10/util/ThreadLocalDebugInfo.h>

#include <cstdint>
#include <memory>

namespace attribution::memory {

class AllocationCounter {
 public:
  AllocationCounter();
  ~AllocationCounter();
  AllocationCounter(const AllocationCounter&) = delete;
  AllocationCounter& operator=(const AllocationCounter&) = delete;

  // Bytes that live now, and the most that lived at once, external ones included. Blocks allocated outside
  // the counter's scopes do not count, nor does freeing them.
  int64_t live_bytes() const;
  int64_t peak_bytes() const;

  // The most bytes that lived at once in blocks allocated inside an AttentionScope.
  int64_t attention_peak_bytes() const;

  // Counts memory that torch does not know of, such as replies waiting to be sent; negative when it is given
  // back.
  void AddExternal(int64_t bytes);

 private:
  friend class AllocationScope;
  class Recorder;
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

}  // namespace attribution::memory

#endif  // SERVER_MEMORY_ALLOCATION_COUNTER_H_
