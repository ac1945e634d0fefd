// RefusingAllocator stands in front of torch's CPU allocator and refuses a block before it exists.
//
// Every failure leaves it as a c10::OutOfMemoryError: the limit of the job whose AllocationCounter is
// installed on the thread, and whatever the allocator behind it throws when memory is short. Refusing before
// allocating is what makes it free of leaks: an exception out of torch's reporting hook comes when the block
// is already there and nobody owns it. Blocks are those of the allocator behind it, its deleter and its
// report to the counter included. Stateless; any thread.
//
// Devices other than the CPU have allocators of their own, in front of which this does not stand; see
// AllocationCounter::exceeded_limit().
#ifndef SERVER_MEMORY_REFUSING_ALLOCATOR_H_
#define SERVER_MEMORY_REFUSING_ALLOCATOR_H_

#include <c10/core/Allocator.h>

namespace attribution::memory {

class RefusingAllocator : public c10::Allocator {
 public:
  // `behind` outlives the allocator.
  explicit RefusingAllocator(c10::Allocator& behind) : behind_(behind) {}

  c10::DataPtr allocate(size_t bytes) override;
  bool is_simple_data_ptr(const c10::DataPtr& block) const override {
    return behind_.is_simple_data_ptr(block);
  }
  c10::DeleterFnPtr raw_deleter() const override { return behind_.raw_deleter(); }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    behind_.copy_data(to, from, bytes);
  }

 private:
  c10::Allocator& behind_;
};

// Puts one in front of torch's CPU allocator for the rest of the process. Calling it again changes nothing.
void InstallRefusingAllocator();

}  // namespace attribution::memory

#endif  // SERVER_MEMORY_REFUSING_ALLOCATOR_H_
