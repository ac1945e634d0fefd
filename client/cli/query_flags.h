// The flags of `attribution query`, and the request they make.
#ifndef ATTRIBUTION_CLIENT_CLI_QUERY_FLAGS_H_
#define ATTRIBUTION_CLIENT_CLI_QUERY_FLAGS_H_

#include <CLI/CLI.hpp>
#include <istream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "attribution/request.h"
#include "client/cli/computation_flags.h"
#include "client/cli/result_flags.h"

namespace attribution::cli {

struct QueryFlags {
  std::string model;
  std::vector<std::string> texts;
  std::vector<std::string> ids;
  std::vector<std::string> tensors;  // NAME=FILE.npy each
  std::string file;
  bool truncate = false;
  ComputationFlags computation;
  ResultFlags result;
};

// Adds the flags to the command. `flags` outlives `command`.
void AddQueryFlags(CLI::App& command, QueryFlags& flags);

// Makes the request; the model stays empty if the flags name none. Texts come from `input`, one a line, empty
// lines left out, if the flags hold neither texts nor ids nor tensors nor a file. Usage error for flags that
// do not go together, or no input.
absl::StatusOr<AttributionRequest> MakeRequest(const QueryFlags& flags, std::istream& input);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_QUERY_FLAGS_H_
