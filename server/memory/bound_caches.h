// Bounds what libraries keep in memory for later, so that the process does not grow with what it has seen.
#ifndef SERVER_MEMORY_BOUND_CACHES_H_
#define SERVER_MEMORY_BOUND_CACHES_H_

namespace attribution::memory {

// REQUIRES: called before torch computes anything, while the process has one thread. What the environment
// sets already stays.
void BoundCaches();

}  // namespace attribution::memory

#endif  // SERVER_MEMORY_BOUND_CACHES_H_
