// Two caches grow with every shape and every thread, and made a server that answered requests of varying
// length 5 % larger from its 1000th to its 6000th (docs/adr/0013):
//   oneDNN keeps code for the last 1024 shapes of an operator. A forward pass needs some ten of them.
//   tcmalloc keeps up to 32 MiB of small blocks for its threads, of which gRPC has many that rarely allocate.
#include "server/memory/bound_caches.h"

#include <stdlib.h>

#include <cstddef>

// Of tcmalloc; absent where another allocator is linked.
extern "C" __attribute__((weak)) int MallocExtension_SetNumericProperty(const char* name, size_t value);

namespace attribution::memory {

void BoundCaches() {
  constexpr size_t kThreadCacheBytes = 4 << 20;
  setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64", /*overwrite=*/0);
  const bool is_set = getenv("TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES") != nullptr;
  if (!is_set && MallocExtension_SetNumericProperty != nullptr)
    MallocExtension_SetNumericProperty("tcmalloc.max_total_thread_cache_bytes", kThreadCacheBytes);
}

}  // namespace attribution::memory
