// Which model a command means.
#ifndef ATTRIBUTION_CLIENT_CLI_MODEL_CHOICE_H_
#define ATTRIBUTION_CLIENT_CLI_MODEL_CHOICE_H_

#include <string>

#include "absl/status/statusor.h"
#include "attribution/client.h"

namespace attribution::cli {

struct ModelName {
  std::string name;
  std::string version;  // empty: the newest that serves
};

// Reads `name` or `name:version`.
ModelName SplitModel(const std::string& text);

// Returns the name of the only model that the server has. Usage error, with their names, if it has several.
absl::StatusOr<std::string> OnlyModel(Client& client);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_MODEL_CHOICE_H_
