// LayerSelection numbers the attention layers that a request's pattern leaves.
//
// Immutable; any thread.
#ifndef SERVER_ENGINE_LAYER_SELECTION_H_
#define SERVER_ENGINE_LAYER_SELECTION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/capture/model_runner.h"

namespace attribution::engine {

class LayerSelection {
 public:
  // Selects the executions of sites whose path matches `pattern` (RE2, partial match; empty: all).
  // INVALID_ARGUMENT if the pattern does not compile; FAILED_PRECONDITION `No attention weights captured`,
  // with the sites seen and the way out, if nothing is left. INVALID_ARGUMENT if layers of encoder and
  // decoder are left, which have no rollout together. `model`: its name, for the sentence.
  static absl::StatusOr<LayerSelection> Make(const capture::ModelDescription& description,
                                             const std::string& pattern, const std::string& model);

  // The same sites in a run that executed `order`, sites one after the other. May be empty.
  LayerSelection InRun(std::vector<int32_t> order) const;

  // Site of every execution of a run, selected or not.
  const std::vector<int32_t>& execution_order() const { return execution_order_; }

  // Number of layers, L. At least 1, except for InRun.
  int32_t size() const { return static_cast<int32_t>(site_of_layer_.size()); }

  // Whether executions of `site` are layers.
  bool Selects(int32_t site) const { return selected_[site]; }

  // Site of a layer, in [0, L).
  int32_t SiteOf(int32_t layer) const { return site_of_layer_[layer]; }

 private:
  LayerSelection(std::vector<bool> selected, std::vector<int32_t> execution_order);

  std::vector<bool> selected_;  // by site
  std::vector<int32_t> execution_order_;
  std::vector<int32_t> site_of_layer_;  // in order of execution
};

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_LAYER_SELECTION_H_
