#include "server/engine/learned_costs.h"

namespace attribution::engine {

std::shared_ptr<admission::LearnedCost> LearnedCosts::Of(
    const std::shared_ptr<const models::ResidentModel>& model) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(model.get());
  // A new model may stand where one that is gone stood.
  if (found != entries_.end() && found->second.model.lock() == model) return found->second.cost;
  std::erase_if(entries_, [](const auto& entry) { return entry.second.model.expired(); });
  Entry& entry = entries_[model.get()];
  entry = {model, std::make_shared<admission::LearnedCost>()};
  return entry.cost;
}

}  // namespace attribution::engine
