#include "server/models/placement.h"

#include <algorithm>
#include <utility>

namespace attribution::models {

Placement::Placement(const std::map<std::string, int64_t>& model_bytes, std::vector<int64_t> rooms)
    : rooms_(std::move(rooms)) {
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<int64_t, std::string>> by_size;
  by_size.reserve(model_bytes.size());
  for (const auto& [name, bytes] : model_bytes) by_size.emplace_back(bytes, name);
  // Equal ones by name, so that every start places alike.
  std::sort(by_size.begin(), by_size.end());
  for (auto model = by_size.rbegin(); model != by_size.rend(); ++model)
    Put(model->second, model->first, Roomiest());
  for (const auto& [bytes, name] : by_size) {
    for (size_t device = 0; device < rooms_.size(); ++device) {
      if (!places_[name].contains(device) && bytes <= rooms_[device]) Put(name, bytes, device);
    }
  }
}

bool Placement::Holds(size_t device, const std::string& name, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (!places_.contains(name)) Put(name, bytes, Roomiest());
  return places_[name].contains(device);
}

size_t Placement::Roomiest() const {
  return static_cast<size_t>(std::max_element(rooms_.begin(), rooms_.end()) - rooms_.begin());
}

void Placement::Put(const std::string& name, int64_t bytes, size_t device) {
  rooms_[device] -= bytes;
  places_[name].insert(device);
}

std::map<std::string, int64_t> ModelBytes(const RepositoryScan& scan) {
  std::map<std::string, int64_t> bytes;
  for (const BundlePaths& bundle : scan.bundles) {
    int64_t& largest = bytes[bundle.name];
    largest = std::max(largest, FileBytes(bundle));
  }
  return bytes;
}

}  // namespace attribution::models
