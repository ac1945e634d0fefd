#include "server/engine/device.h"

#include <ATen/ATen.h>
#include <ATen/DeviceAccelerator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <exception>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/admission/host_resources.h"

namespace attribution::engine {

absl::StatusOr<c10::Device> ResolveDevice(const std::string& name) {
  const std::optional<c10::DeviceType> accelerator = at::getAccelerator(/*checked=*/false);
  const c10::DeviceIndex count = accelerator.has_value() ? at::accelerator::deviceCount() : 0;
  if (name == "auto") return count > 0 ? c10::Device(*accelerator, 0) : c10::Device(c10::kCPU);
  std::optional<c10::Device> device;
  try {
    device = c10::Device(name);
  } catch (const std::exception&) {
    return absl::InvalidArgumentError(absl::StrCat("The device is not known. It is \"", name,
                                                   "\"; choose auto, cpu, cuda or cuda:<number>."));
  }
  if (device->is_cpu()) return c10::Device(c10::kCPU);
  const c10::DeviceIndex index = device->has_index() ? device->index() : c10::DeviceIndex{0};
  if (!accelerator.has_value() || device->type() != *accelerator || index >= count) {
    return absl::InvalidArgumentError(absl::StrCat("The device is not on this machine. It is \"", name,
                                                   "\"; LibTorch sees ", count,
                                                   " accelerators. Choose another, or auto."));
  }
  return c10::Device(device->type(), index);
}

absl::StatusOr<std::vector<c10::Device>> ResolveDevices(const std::string& names) {
  std::vector<c10::Device> devices;
  const std::vector<std::string> parts = absl::StrSplit(names, ',');
  for (const std::string& part : parts) {
    const std::string name(absl::StripAsciiWhitespace(part));
    if (name == "auto" && parts.size() > 1) {
      return absl::InvalidArgumentError(absl::StrCat("auto is no device beside others. They are \"", names,
                                                     "\"; name each, or leave auto alone."));
    }
    const absl::StatusOr<c10::Device> device = ResolveDevice(name);
    if (!device.ok()) return device.status();
    if (std::find(devices.begin(), devices.end(), *device) != devices.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("A device is named twice. They are \"", names, "\"; name each once."));
    }
    devices.push_back(*device);
  }
  return devices;
}

int64_t FreeBytes(c10::Device device) {
  if (device.is_cpu()) return admission::ReadHostResources().memory_available_bytes;
  return static_cast<int64_t>(at::accelerator::getMemoryInfo(device.index()).first);
}

void ReturnCaches(c10::Device device) {
  if (!device.is_cpu()) at::accelerator::emptyCache();
}

absl::Status TestDevice(c10::Device device) {
  // Few and simple: no team of threads, no workspace of a library, and a sum that float32 has exactly.
  constexpr int64_t kCount = 256;
  constexpr float kSum = kCount * (kCount - 1);
  const auto ill = [device](const auto& what) {
    return absl::InternalError(absl::StrCat("The device does not compute. On ", device.str(), ": ", what,
                                            ". Restart the server; look at the device."));
  };
  try {
    const c10::InferenceMode inference;
    const at::Tensor numbers = at::arange(kCount, at::kFloat).to(device);
    const auto sum = numbers.mul(2).sum().item<float>();
    if (sum != kSum) return ill(absl::StrCat("a sum that is ", kSum, " came out as ", sum));
  } catch (const c10::OutOfMemoryError&) {
    return absl::OkStatus();
  } catch (const std::exception& error) {
    const std::string text = error.what();
    return ill(text.substr(0, text.find('\n')));
  }
  return absl::OkStatus();
}

void UseOwnStream(c10::Device device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl implementation(device.type());
  implementation.exchangeDevice(device);
  implementation.exchangeStream(implementation.getStreamFromGlobalPool(device));
}

}  // namespace attribution::engine
