#include "server/memory/refusing_allocator.h"

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdint>

#include "server/memory/allocation_counter.h"

namespace attribution::memory {

c10::DataPtr RefusingAllocator::allocate(size_t bytes) {
  CheckAllocation(static_cast<int64_t>(std::min<size_t>(bytes, kUnlimited)));
  try {
    return behind_.allocate(bytes);
  } catch (const c10::Error& error) {
    // Torch's allocator has told the counter, and gives the exception no type of its own.
    TORCH_CHECK_WITH(OutOfMemoryError, false, error.what_without_backtrace());
  }
}

void InstallRefusingAllocator() {
  // Never deleted: torch keeps the pointer until the process ends.
  static auto* const allocator = new RefusingAllocator(*c10::GetCPUAllocator());
  c10::SetCPUAllocator(allocator, /*priority=*/1);  // above that of torch's own
}

}  // namespace attribution::memory
