#include "server/memory/refusing_allocator.h"

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdint>
#include <mutex>

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
  static std::once_flag installed;
  std::call_once(installed, [] {
    // Never deleted: torch keeps the pointer until the process ends. It wants a priority above its own
    // allocator's.
    c10::SetCPUAllocator(new RefusingAllocator(*c10::GetCPUAllocator()), /*priority=*/1);
  });
}

}  // namespace attribution::memory
