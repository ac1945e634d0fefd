// The entry point of one libFuzzer program; ATTRIBUTION_FUZZ_TARGET is its name in targets.h.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const attribution::fuzz::Target target = [] {
    for (const auto& [name, function] : attribution::fuzz::kTargets) {
      if (std::string_view(name) == ATTRIBUTION_FUZZ_TARGET) return function;
    }
    std::abort();
  }();
  target({reinterpret_cast<const char*>(data), size});
  return 0;
}
