// GraphPlan runs one flat graph on the interpreter. Immutable; Run may be called from several threads at
// once.
//
// The simple executor is used: it compiles once, never per shape, so no request pays for a recompilation.
#ifndef SERVER_CAPTURE_GRAPH_PLAN_H_
#define SERVER_CAPTURE_GRAPH_PLAN_H_

#include <torch/csrc/jit/runtime/graph_executor.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/capture/attention_observer.h"

namespace attribution::capture {

class GraphPlan {
 public:
  GraphPlan(const std::shared_ptr<torch::jit::Graph>& graph, const std::string& name);

  // Runs the graph on `inputs` (the module first) and returns its outputs. With an observer, which the graph
  // then takes as its last input, a run that the observer stops is OK and has no outputs. Errors as
  // ModelError.
  absl::StatusOr<torch::jit::Stack> Run(torch::jit::Stack inputs, AttentionObserver* observer) const;

 private:
  mutable torch::jit::GraphExecutor executor_;
};

// The status for what a model threw: RESOURCE_EXHAUSTED when memory ran out, INVALID_ARGUMENT for an index
// out of an embedding's range, else INTERNAL, with the first line of the model's own message.
absl::Status ModelError(const std::exception& error);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_GRAPH_PLAN_H_
