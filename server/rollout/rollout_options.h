// ResolveOptions fills in what a caller left open and refuses what is out of range, before anything runs.
//
// Pure function; any thread. The ranges and what each preset sets are in docs/rollout.md.
#ifndef SERVER_ROLLOUT_ROLLOUT_OPTIONS_H_
#define SERVER_ROLLOUT_ROLLOUT_OPTIONS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "attribution/options.h"

namespace attribution::rollout {

// Returns `options` with defaults filled in and layer numbers in [0, num_layers).
// Layers are those that attention_layer_pattern left; the pattern itself and a chunk policy of kServerDefault
// pass through. INVALID_ARGUMENT for a value out of range, UNIMPLEMENTED for a choice that is not built yet;
// both carry the field, "options.<name>" (see attribution/status_details.h). REQUIRES: num_layers > 0,
// num_heads > 0.
absl::StatusOr<ResolvedOptions> ResolveOptions(const AttributionOptions& options, int32_t num_layers,
                                               int32_t num_heads);

}  // namespace attribution::rollout

#endif  // SERVER_ROLLOUT_ROLLOUT_OPTIONS_H_
