// Puts load on a server and measures what its clients see.
//
// Blocks its caller; the requests themselves run on gRPC's few threads, so that the load costs little where
// it is made.
#ifndef ATTRIBUTION_CLIENT_CLI_LOAD_GENERATOR_H_
#define ATTRIBUTION_CLIENT_CLI_LOAD_GENERATOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "attribution/client.h"
#include "attribution/request.h"
#include "client/cli/load_report.h"
#include "client/cli/load_shapes.h"

namespace attribution::cli {

struct LoadPlan {
  AttributionRequest request;     // all but the input, unless it is the same every time
  std::vector<LoadShape> shapes;  // empty: the request's own input
  int64_t vocabulary = 0;         // of the random ids
  int32_t clients = 1;            // each sends its next request when the last has ended; 0: open loop
  double rate = 0;                // of the open loop: requests due a second, on average
  absl::Duration warm_up;         // not measured
  absl::Duration duration;        // measured: requests that are due in this time
  uint64_t seed = 1;
};

// Runs the plan to the end of its last request. In an open loop a request is due when it arrives, whether or
// not others have ended, and its latency counts from then, so that a server that stalls is not spared.
LoadReport RunLoad(Client& client, const LoadPlan& plan);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_LOAD_GENERATOR_H_
