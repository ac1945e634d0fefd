// Which requests may run in one chunk together.
#ifndef SERVER_ENGINE_SHARE_KEY_H_
#define SERVER_ENGINE_SHARE_KEY_H_

#include <string>

#include "server/engine/request_intake.h"

namespace attribution::engine {

// Returns the same text for requests that differ in their sequences alone: one resident model, the same
// options, the same kinds of output. Empty for a request that must run alone: of tensors, to a model that may
// not see other sequences beside it, or one that chose the size of its chunks.
std::string ShareKeyOf(const PreparedRequest& request);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_SHARE_KEY_H_
