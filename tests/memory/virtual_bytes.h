// The address space of this process, which grows with every block that is lost.
#ifndef TESTS_MEMORY_VIRTUAL_BYTES_H_
#define TESTS_MEMORY_VIRTUAL_BYTES_H_

#include <unistd.h>

#include <cstdint>
#include <fstream>

namespace attribution::memory {

// A sanitizer keeps freed blocks to recognise their use, and ends the process where malloc would return null.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kOwnMalloc = false;
#else
inline constexpr bool kOwnMalloc = true;
#endif

inline int64_t VirtualBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t pages = 0;
  file >> pages;
  return pages * sysconf(_SC_PAGESIZE);
}

}  // namespace attribution::memory

#endif  // TESTS_MEMORY_VIRTUAL_BYTES_H_
