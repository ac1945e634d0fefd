// Makes the engine that runs on LibTorch.
#ifndef SERVER_ENGINE_ENGINE_FACTORY_H_
#define SERVER_ENGINE_ENGINE_FACTORY_H_

#include <memory>

#include "absl/status/statusor.h"
#include "attribution/engine.h"
#include "server/telemetry/metrics.h"

namespace attribution::engine {

// Starts an engine on the models of options.model_repository, which are loaded in the background; requests
// for a model that is still loading are UNAVAILABLE. `metrics` outlives the engine. INVALID_ARGUMENT for a
// device that does not exist. Destroying the engine cancels what runs and waits for it.
absl::StatusOr<std::unique_ptr<Engine>> CreateEngine(const EngineOptions& options,
                                                     telemetry::Metrics& metrics);

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_ENGINE_FACTORY_H_
