// What the log says of a model that was loaded.
#ifndef SERVER_ENGINE_LOAD_LOG_H_
#define SERVER_ENGINE_LOAD_LOG_H_

#include "attribution/model_info.h"

namespace attribution::engine {

// Writes a line for the model, and one for each reason for which sites of it are tapped rather than computed
// in blocks. Any thread. REQUIRES: the model serves.
void LogLoad(const ModelInfo& model);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_LOAD_LOG_H_
