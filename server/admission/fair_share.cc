#include "server/admission/fair_share.h"

#include <algorithm>

namespace attribution::admission {
namespace {

// The least that anything takes: a flood of what costs nothing is a flood all the same.
constexpr double kMomentSeconds = 1e-3;

}  // namespace

double FairShare::StartTag(const std::string& client, double seconds) {
  double& end = ends_[client];
  const double start = std::max(virtual_time_, end);
  end = start + std::max(seconds, kMomentSeconds);
  return start;
}

void FairShare::GiveBack(const std::string& client, double seconds) {
  const auto found = ends_.find(client);
  if (found != ends_.end()) found->second -= std::max(seconds, kMomentSeconds);
}

void FairShare::Started(double start_tag) {
  if (start_tag <= virtual_time_) return;
  virtual_time_ = start_tag;
  // Whoever's end has passed begins anew at the virtual time, remembered or not.
  std::erase_if(ends_, [this](const auto& entry) { return entry.second <= virtual_time_; });
}

}  // namespace attribution::admission
