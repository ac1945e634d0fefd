// Engine runs attention attribution on resident models, without any network around it.
//
// Thread-safe. A request is checked, admitted, run and told on the engine's own threads; its caller is never
// blocked.
#ifndef ATTRIBUTION_ENGINE_H_
#define ATTRIBUTION_ENGINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "attribution/attention_header.h"
#include "attribution/estimate.h"
#include "attribution/events.h"
#include "attribution/model_info.h"
#include "attribution/options.h"
#include "attribution/request.h"

namespace attribution {

// The memory that an event takes of what its request has reserved: given back when the last copy is gone.
// Null for events too small to count.
using EventMemory = std::shared_ptr<const void>;

// Receives the events of one request. Calls come one at a time, in order, from any engine thread; none may
// block.
class EventSink {
 public:
  virtual ~EventSink() = default;

  // Takes the next event. A sink that keeps the event, to send it later, keeps `memory` for as long, and lets
  // go of it before the engine ends.
  virtual void OnEvent(Event event, EventMemory memory) = 0;

  // Calls `resume` once, now or later from any thread, when there is room for the events of one more chunk.
  // The engine holds no worker meanwhile. A sink that keeps what it gets calls it at once.
  // NOLINTNEXTLINE(performance-unnecessary-value-param): those that wait keep it.
  virtual void WhenWritable(std::function<void()> resume) { resume(); }

  // Last call. What the request had reserved is released before it, but for the memory of events that the
  // sink still keeps. OK after an AttributionResult, else the error.
  virtual void OnDone(const absl::Status& status) = 0;
};

// What surrounds a request.
struct CallContext {
  absl::Time deadline = absl::InfiniteFuture();
  std::string request_id;
  std::string trace_id;  // of the caller's trace, 32 hexadecimal digits; empty: none
  std::string peer;
  std::string client;    // who asks, for a fair share: the name of its token or certificate, else its address
  int32_t priority = 0;  // larger goes first
};

// One running request. Dropping it does not cancel.
class AttributionCall {
 public:
  virtual ~AttributionCall() = default;

  // Stops the request: at once if it waits, between two layers if it runs. OnDone(CANCELLED) follows.
  // Idempotent.
  virtual void Cancel() = 0;
};

// One running rollout of attention that the caller sends. Pieces come one at a time: the next one after
// `taken` of the last was called.
class RolloutCall : public AttributionCall {
 public:
  // Gives the bytes of layer `layer` that begin at `offset`. REQUIRES: Admitted was told. `taken` is called
  // once, from any thread, when the next piece may come; after an error, when OnDone follows.
  virtual void Append(int32_t layer, int64_t offset, std::string data, std::function<void()> taken) = 0;

  // Says that no more pieces come. The result, or the error, follows. REQUIRES: no piece is under way.
  virtual void End() = 0;
};

// Whether a device computes: by a small computation on it from time to time.
struct DeviceState {
  std::string device;
  absl::Status status;  // OK: it does
};

struct EngineOptions {
  std::string model_repository;     // folder of model bundles
  std::string device = "auto";      // `auto`, `cpu`, `cuda`, `cuda:1`; several by commas
  int64_t memory_budget_bytes = 0;  // for requests, without the models; 0: 80 % of what is free after loading
  int64_t model_memory_budget_bytes = 0;                           // of the models of a device; 0: none
  absl::Duration repository_poll_interval = absl::ZeroDuration();  // zero: looked at when asked to load
  int32_t workers = 0;           // chunks that run at once; 0: one, which uses the whole CPU quota
  int32_t intra_op_threads = 0;  // of a worker; 0: the CPU quota divided by the workers
  bool share_chunks = true;      // whether small requests that wait for the same may run as one
  ChunkPolicy chunk_policy = ChunkPolicy::kAdaptive;
  int32_t queue_limit = 256;          // requests that may wait for memory
  int64_t queue_bytes = 256ll << 20;  // bytes of the requests that may wait
  absl::Duration queue_timeout = absl::Seconds(30);
  int32_t max_sequences = 4096;     // a request
  int64_t max_sequence_length = 0;  // 0: the model's own
  bool log_text = false;            // whether the texts of requests may be written to the log
};

class Engine {
 public:
  virtual ~Engine() = default;

  // Starts the request. Everything about it, errors included, is told to `sink`, which lives until OnDone
  // returns.
  virtual std::shared_ptr<AttributionCall> Attribute(AttributionRequest request, CallContext context,
                                                     std::shared_ptr<EventSink> sink) = 0;

  // Says what admission would decide for a shape: `done` gets it, once, from an engine thread. Nothing runs.
  // Errors as Attribute.
  virtual void Estimate(EstimateRequest request,
                        std::function<void(absl::StatusOr<AdmissionEstimate>)> done) = 0;

  // Starts to fold attention that the caller sends. Memory is reserved from the header: the first event is
  // Admitted, and pieces follow. Errors and events as Attribute.
  virtual std::shared_ptr<RolloutCall> Rollout(RolloutRequest request, CallContext context,
                                               std::shared_ptr<EventSink> sink) = 0;

  // Every version that was found, by name, then version.
  virtual std::vector<ModelInfo> ListModels() const = 0;

  // One version; empty: the newest that serves, else the newest. NOT_FOUND names what there is.
  virtual absl::StatusOr<ModelInfo> GetModel(const std::string& name, const std::string& version) const = 0;

  // Loads a version, the newest in the repository if `version` is empty; `done` gets it once it serves, or
  //   NOT_FOUND, FAILED_PRECONDITION (MODEL_LOAD_FAILED with the load error, MODEL_NEVER_FITS),
  //   RESOURCE_EXHAUSTED (MODEL_MEMORY_FULL: it does not fit beside those in memory), UNAVAILABLE (draining).
  // One that serves the same bytes stays as it is, one that is loaded again serves meanwhile, unless
  // `options` say otherwise. `done` is called once, from any thread.
  virtual void LoadModel(const std::string& name, const std::string& version, LoadModelOptions options,
                         std::function<void(absl::StatusOr<ModelInfo>)> done) = 0;

  // Takes a version, the one that serves if `version` is empty, out of memory. `done` is called once the last
  // request that uses it has ended. NOT_FOUND, UNAVAILABLE (draining).
  virtual void UnloadModel(const std::string& name, const std::string& version,
                           std::function<void(absl::StatusOr<ModelInfo>)> done) = 0;

  // Calls `listener` for every version now and whenever a state changes, until the engine ends.
  virtual void WatchModels(std::function<void(const ModelInfo&)> listener) = 0;

  // Calls `listener` for every device now and whenever one falls ill or is well again, until the engine ends.
  // Neither loading nor draining changes what is told.
  virtual void WatchDevices(std::function<void(const DeviceState&)> listener) = 0;

  // Refuses new requests with UNAVAILABLE and returns when the running ones are done or `grace` is over;
  // what is left by then is cancelled. Returns whether everything finished by itself.
  virtual bool Drain(absl::Duration grace) = 0;
};

}  // namespace attribution

#endif  // ATTRIBUTION_ENGINE_H_
