#include "tests/benchmark/resident_memory.h"

#include <fstream>
#include <stdexcept>
#include <string>

namespace attribution::benchmark {

ResidentMemory ReadResidentMemory() {
  std::ifstream file("/proc/self/status");
  ResidentMemory memory;
  int64_t kibibytes = 0;
  for (std::string word; file >> word;) {
    if (word == "VmRSS:" && file >> kibibytes) memory.now_bytes = kibibytes * 1024;
    if (word == "VmHWM:" && file >> kibibytes) memory.most_bytes = kibibytes * 1024;
  }
  return memory;
}

void ForgetMostResident() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  if (!file)
    throw std::runtime_error(
        "The kernel does not reset the high-water mark of memory. Its /proc/self/clear_refs must be "
        "writable.");
}

}  // namespace attribution::benchmark
