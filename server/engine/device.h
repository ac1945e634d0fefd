// Devices that models run on: chosen by name, asked for their memory. One source for the CPU and any
// accelerator.
#ifndef SERVER_ENGINE_DEVICE_H_
#define SERVER_ENGINE_DEVICE_H_

#include <c10/core/Device.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace attribution::engine {

// Resolves `auto` (an accelerator if there is one, else the CPU), `cpu`, `cuda` (the first) or `cuda:1`.
// INVALID_ARGUMENT for a name that is none of those and for a device that this machine or build does not
// have.
absl::StatusOr<c10::Device> ResolveDevice(const std::string& name);

// Resolves names separated by commas, each once: `cuda:0,cuda:1`. `auto` stands alone. Errors as above.
absl::StatusOr<std::vector<c10::Device>> ResolveDevices(const std::string& names);

// Bytes that can be allocated on the device now: of the CPU, what the machine and the cgroup leave.
int64_t FreeBytes(c10::Device device);

// Gives memory that the device's allocator keeps for later back to the device. Nothing is kept on the CPU.
void ReturnCaches(c10::Device device);

// Computes a little on the device and looks at the result. INTERNAL, with the device's own words, if it is
// wrong or does not come. A device whose memory is full is well.
absl::Status TestDevice(c10::Device device);

// Gives this thread a stream of its own on an accelerator, so that workers do not wait for each other.
void UseOwnStream(c10::Device device);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_DEVICE_H_
