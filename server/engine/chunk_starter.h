// ChunkStarter brings the requests of a chunk together and gives the chunk to a worker.
//
// Thread-safe.
#ifndef SERVER_ENGINE_CHUNK_STARTER_H_
#define SERVER_ENGINE_CHUNK_STARTER_H_

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/engine/chunk_run.h"
#include "server/engine/worker_pool.h"

namespace attribution::engine {

class ChunkStarter {
 public:
  // All of it outlives the starter.
  ChunkStarter(WorkerPool& workers, memory::Ledger& ledger, telemetry::Metrics& metrics)
      : workers_(workers), ledger_(ledger), metrics_(metrics) {}

  // Takes a member of `start`. The chunk runs when the last of its members has come; all of them come.
  void Join(const std::shared_ptr<admission::Start>& start, std::shared_ptr<ChunkMember> member);

 private:
  WorkerPool& workers_;
  memory::Ledger& ledger_;
  telemetry::Metrics& metrics_;

  std::mutex mutex_;
  std::map<const admission::Start*, std::vector<std::shared_ptr<ChunkMember>>> gathering_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace attribution::engine

#endif  // SERVER_ENGINE_CHUNK_STARTER_H_
