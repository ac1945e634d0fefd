#include "server/engine/chunk_starter.h"

#include <utility>

namespace attribution::engine {

void ChunkStarter::Join(const std::shared_ptr<admission::Start>& start, std::shared_ptr<ChunkMember> member) {
  std::vector<std::shared_ptr<ChunkMember>> members;
  {
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<ChunkMember>>& gathered = gathering_[start.get()];
    gathered.push_back(std::move(member));
    if (static_cast<int32_t>(gathered.size()) < start->members) return;
    members = std::move(gathered);
    gathering_.erase(start.get());
  }
  const auto run = std::make_shared<ChunkRun>(start, std::move(members), ledger_, metrics_);
  workers_.Submit([run] { run->Run(); }, [run] { run->Conclude(); });
}

}  // namespace attribution::engine
