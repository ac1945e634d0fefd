// What <name>/model.yaml says of a model: which of its versions serve, and whether it may be evicted.
//
// Plain values and pure functions; safe from any thread.
#ifndef SERVER_MODELS_MODEL_POLICY_H_
#define SERVER_MODELS_MODEL_POLICY_H_

#include <cstddef>
#include <cstdint>
#include <set>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace attribution::models {

// Largest model.yaml that is read.
inline constexpr size_t kMaxPolicyBytes = size_t{1} << 16;

struct ModelPolicy {
  // Which versions serve: those named, else the newest `latest`. A `latest` of 0: all.
  std::set<int64_t> versions;
  int64_t latest = 1;
  bool pinned = false;  // never evicted for want of memory
};

// Reads the text of model.yaml. FAILED_PRECONDITION with the line and the key for whatever is wrong with it.
// Never throws.
absl::StatusOr<ModelPolicy> ParseModelPolicy(std::string_view yaml);

// Those of `versions`, rising, that are to serve.
std::set<int64_t> WantedVersions(const ModelPolicy& policy, const std::vector<int64_t>& versions);

}  // namespace attribution::models

#endif  // SERVER_MODELS_MODEL_POLICY_H_
