#include "server/models/release.h"

#include <utility>

namespace attribution::models {

std::shared_ptr<const ResidentModel> Release::Track(std::shared_ptr<const ResidentModel> model,
                                                    std::shared_ptr<Release> release) {
  const ResidentModel* const address = model.get();
  return {address, [model = std::move(model), release = std::move(release)](const ResidentModel*) mutable {
            model.reset();
            release->Freed();
          }};
}

void Release::Then(std::function<void()> then) {
  {
    const std::lock_guard lock(mutex_);
    if (!freed_) {
      then_.push_back(std::move(then));
      return;
    }
  }
  then();
}

void Release::Freed() {
  std::vector<std::function<void()>> then;
  {
    const std::lock_guard lock(mutex_);
    freed_ = true;
    then.swap(then_);
  }
  for (const std::function<void()>& call : then) call();
}

}  // namespace attribution::models
