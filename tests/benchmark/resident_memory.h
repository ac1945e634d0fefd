// The resident set of this process, as the kernel counts it.
//
// Free functions; any thread. Linux only.
#ifndef TESTS_BENCHMARK_RESIDENT_MEMORY_H_
#define TESTS_BENCHMARK_RESIDENT_MEMORY_H_

#include <cstdint>

namespace attribution::benchmark {

struct ResidentMemory {
  int64_t now_bytes = 0;
  int64_t most_bytes = 0;  // since the process began, or since ForgetMostResident()
};

ResidentMemory ReadResidentMemory();

// Makes the resident set of now the largest one. Throws if the kernel does not offer it.
void ForgetMostResident();

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_RESIDENT_MEMORY_H_
