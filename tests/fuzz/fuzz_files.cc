// The files that operators, exporters and callers write.
#include <cmath>
#include <string>

#include "client/cli/npy_reader.h"
#include "server/config.h"
#include "server/models/manifest.h"
#include "server/models/model_policy.h"
#include "server/rpc/token_file.h"
#include "tests/fuzz/targets.h"

namespace attribution::fuzz {

void FuzzManifest(std::string_view bytes) {
  const auto manifest = models::ParseManifest(bytes);
  FUZZ_CHECK(!manifest.ok() || manifest->sha256.empty() || manifest->sha256.size() == 64);
  FUZZ_CHECK(manifest.ok() || !manifest.status().message().empty());
}

void FuzzModelPolicy(std::string_view bytes) {
  const auto policy = models::ParseModelPolicy(bytes);
  if (!policy.ok()) return;
  for (const int64_t version : models::WantedVersions(*policy, {1, 2, 3, 40})) FUZZ_CHECK(version >= 1);
}

void FuzzConfiguration(std::string_view bytes) {
  const auto config = config::ReadYaml(std::string(bytes), "fuzz");
  if (!config.ok()) return;
  // What is taken can be written, and reads back the same.
  const std::string text = config::ToYaml(*config);
  const auto again = config::ReadYaml(text, "printed");
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(config::ToYaml(*again) == text);
}

void FuzzTokens(std::string_view bytes) {
  const auto tokens = rpc::ParseTokens(bytes);
  if (!tokens.ok()) return;
  FUZZ_CHECK(!tokens->empty());
  for (const rpc::Token& token : *tokens) {
    FUZZ_CHECK(!token.name.empty() && std::isfinite(token.rate_limit) && std::isfinite(token.burst));
    FUZZ_CHECK(token.rate_limit == 0 || token.burst >= 1);
  }
}

void FuzzNpy(std::string_view bytes) {
  const auto tensor = cli::ReadNpy(std::string(bytes));
  if (!tensor.ok()) return;
  for (const int64_t size : tensor->shape) FUZZ_CHECK(size >= 0);
  FUZZ_CHECK(tensor->data.size() <= bytes.size());
}

}  // namespace attribution::fuzz
