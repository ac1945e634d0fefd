// Reads how many CPUs and how much memory this process may use: the machine's, or less where a cgroup says
// so.
//
// Reads files only; any thread.
#ifndef SERVER_ADMISSION_HOST_RESOURCES_H_
#define SERVER_ADMISSION_HOST_RESOURCES_H_

#include <cstdint>
#include <filesystem>

namespace attribution::admission {

struct HostResources {
  double cpus = 1;  // CPUs the process may run on, or its quota if that is less; may be a fraction
  int64_t memory_available_bytes = 0;  // what can still be allocated; 0 if unknown
};

// Looks at the process's own cgroup and those above it, version 1 and 2, and at /proc, all below `root`.
// Files that do not exist, or that say "no limit", limit nothing. Page cache that the kernel would give up
// counts as available.
HostResources ReadHostResources(const std::filesystem::path& root = "/");

}  // namespace attribution::admission

#endif  // SERVER_ADMISSION_HOST_RESOURCES_H_
