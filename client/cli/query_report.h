// Prints a reply for people: metrics, layers, heat maps, cost.
#ifndef ATTRIBUTION_CLIENT_CLI_QUERY_REPORT_H_
#define ATTRIBUTION_CLIENT_CLI_QUERY_REPORT_H_

#include <string>

#include "client/cli/reply.h"
#include "client/cli/terminal.h"

namespace attribution::cli {

// Returns the whole report; `with_rollout` false leaves the heat maps out.
std::string QueryReport(const Reply& reply, bool with_rollout, const Terminal& terminal);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_QUERY_REPORT_H_
