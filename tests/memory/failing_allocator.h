// FailingAllocator is a CPU allocator of torch that has no memory when a test wants it so.
//
// Thread-safe. It fails as torch's own does: the counter is told, and a c10::Error without a type of its own
// is thrown. Blocks are those of the allocator behind it.
#ifndef TESTS_MEMORY_FAILING_ALLOCATOR_H_
#define TESTS_MEMORY_FAILING_ALLOCATOR_H_

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <atomic>
#include <cstdint>

#include "server/memory/refusing_allocator.h"

namespace attribution::memory {

class FailingAllocator : public c10::Allocator {
 public:
  explicit FailingAllocator(c10::Allocator& behind) : behind_(behind) {}

  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return behind_.allocate(bytes);  // which needs none
    const int64_t number = ++count_;
    if (number == failing_) {
      c10::profiledCPUMemoryReporter().OutOfMemory(bytes);
      TORCH_CHECK(false, "There is no memory for allocation ", number, " of ", bytes, " bytes.");
    }
    return behind_.allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return behind_.raw_deleter(); }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    behind_.copy_data(to, from, bytes);
  }

  // Counts allocations of at least a byte anew from 1, on all threads together, and fails allocation `k`
  // alone; 0: none.
  void FailAllocation(int64_t k) {
    count_ = 0;
    failing_ = k;
  }

  // Allocations since.
  int64_t count() const { return count_; }

 private:
  c10::Allocator& behind_;
  std::atomic<int64_t> count_ = 0;
  std::atomic<int64_t> failing_ = 0;
};

// Puts a FailingAllocator, behind a RefusingAllocator as in the server, in front of torch's for as long as it
// lives. Blocks may outlive it: they are torch's own.
class FailingMemory {
 public:
  FailingMemory() { c10::SetCPUAllocator(&refusing_, /*priority=*/1); }
  ~FailingMemory() { c10::SetCPUAllocator(&before_, /*priority=*/1); }
  FailingMemory(const FailingMemory&) = delete;
  FailingMemory& operator=(const FailingMemory&) = delete;

  FailingAllocator* operator->() { return &failing_; }

 private:
  c10::Allocator& before_ = *c10::GetCPUAllocator();
  FailingAllocator failing_{before_};
  RefusingAllocator refusing_{failing_};
};

}  // namespace attribution::memory

#endif  // TESTS_MEMORY_FAILING_ALLOCATOR_H_
