// LearnedCosts keeps what was learned of the cost of each resident model, for as long as the model is there.
//
// Thread-safe.
#ifndef SERVER_ENGINE_LEARNED_COSTS_H_
#define SERVER_ENGINE_LEARNED_COSTS_H_

#include <map>
#include <memory>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "server/admission/learned_cost.h"
#include "server/models/resident_model.h"

namespace attribution::engine {

class LearnedCosts {
 public:
  // Returns that of `model`, one for all that ask. Never null.
  std::shared_ptr<admission::LearnedCost> Of(const std::shared_ptr<const models::ResidentModel>& model);

 private:
  struct Entry {
    std::weak_ptr<const models::ResidentModel> model;
    std::shared_ptr<admission::LearnedCost> cost;
  };

  std::mutex mutex_;
  std::map<const models::ResidentModel*, Entry> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_LEARNED_COSTS_H_
