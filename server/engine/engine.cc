// The engine that runs on LibTorch: the rooms put together, and the jobs that walk through them.
#include "attribution/engine.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/admission/admission_controller.h"
#include "server/admission/host_resources.h"
#include "server/capture/blocked_attention.h"
#include "server/capture/model_runner.h"
#include "server/engine/attribution_job.h"
#include "server/engine/device.h"
#include "server/engine/device_engines.h"
#include "server/engine/device_health.h"
#include "server/engine/engine_factory.h"
#include "server/engine/estimate.h"
#include "server/engine/guarded.h"
#include "server/engine/load_log.h"
#include "server/engine/rollout_host.h"
#include "server/engine/worker_pool.h"
#include "server/memory/refusing_allocator.h"
#include "server/models/model_repository.h"
#include "server/models/model_store.h"
#include "server/models/placement.h"
#include "server/models/residency.h"
#include "server/telemetry/logging.h"

namespace attribution::engine {
namespace {

using telemetry::MetricId;

// What requests may use of the memory that is free now: 80 %.
int64_t DefaultBudget(c10::Device device) { return FreeBytes(device) / 5 * 4; }

// Padded positions of a chunk that several requests share, at most. Measured on two cores with MiniLM: from
// about here on a position costs the same in a larger chunk. An accelerator fills up later.
int64_t SharedTokens(c10::Device device) { return device.is_cpu() ? 2048 : 16384; }

// Tells metrics what admission does.
class AdmissionMetrics : public admission::AdmissionListener {
 public:
  AdmissionMetrics(telemetry::Metrics& metrics, const std::string& device)
      : metrics_(metrics), device_(device) {}
  void OnDecision(std::string_view decision, std::string_view reason) override {
    metrics_.Add(MetricId::kAdmissionDecisions, {decision, reason});
  }
  void OnQueueDepth(int64_t depth) override {
    metrics_.Set(MetricId::kQueueDepth, {device_}, static_cast<double>(depth));
  }

 private:
  telemetry::Metrics& metrics_;
  const std::string& device_;
};

class TorchEngine final : public Engine {
 public:
  // `holds`: which models this device has; empty: all.
  TorchEngine(const EngineOptions& options, c10::Device device, telemetry::Metrics& metrics,
              std::function<bool(const std::string& name, int64_t bytes)> holds);
  ~TorchEngine() override;

  // Reads the repository and begins to load it. REQUIRES: called once, first.
  absl::Status Start();

  std::shared_ptr<AttributionCall> Attribute(AttributionRequest request, CallContext context,
                                             std::shared_ptr<EventSink> sink) override;
  void Estimate(EstimateRequest request,
                std::function<void(absl::StatusOr<AdmissionEstimate>)> done) override;
  std::shared_ptr<RolloutCall> Rollout(RolloutRequest request, CallContext context,
                                       std::shared_ptr<EventSink> sink) override;
  std::vector<ModelInfo> ListModels() const override { return models_.List(); }
  absl::StatusOr<ModelInfo> GetModel(const std::string& name, const std::string& version) const override {
    return models_.Get(name, version);
  }
  void LoadModel(const std::string& name, const std::string& version, LoadModelOptions options,
                 std::function<void(absl::StatusOr<ModelInfo>)> done) override {
    residency_.Load(name, version, options, done);
  }
  void UnloadModel(const std::string& name, const std::string& version,
                   std::function<void(absl::StatusOr<ModelInfo>)> done) override {
    residency_.Unload(name, version, done);
  }
  void WatchModels(std::function<void(const ModelInfo&)> listener) override {
    models_.Watch(std::move(listener));
  }
  void WatchDevices(std::function<void(const DeviceState&)> listener) override {
    device_health_.Watch(std::move(listener));
  }
  bool Drain(absl::Duration grace) override;

 private:
  void OnModelState(const ModelInfo& info);
  void OnDeviceState(const DeviceState& state);
  void SetBudgetGauge();
  void KeepTime();
  void OnJobFinished(const AttributionCall* job);
  // Returns whether no job is left, after `patience` at the latest.
  bool WaitForJobs(absl::Duration patience);

  const EngineOptions options_;
  telemetry::Metrics& metrics_;
  const c10::Device device_;
  const std::string device_name_;
  AdmissionMetrics admission_metrics_;
  models::ModelStore models_;
  models::Residency residency_;
  admission::MemoryBudget budget_;
  admission::AdmissionController admission_;
  memory::Ledger ledger_;
  ChunkStarter chunks_;
  LearnedCosts costs_;

  std::mutex mutex_;
  std::condition_variable changed_;  // a job finished, or the engine stops
  std::map<const AttributionCall*, std::shared_ptr<AttributionCall>> jobs_ ABSL_GUARDED_BY(mutex_);
  bool queue_changed_ ABSL_GUARDED_BY(mutex_) = false;  // something expires earlier than was known
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  const int32_t threads_;  // of a worker
  const JobServices services_;
  EngineRolloutHost rollouts_;
  // Threads last: they use all of the above, and end first.
  WorkerPool intake_;
  WorkerPool workers_;
  DeviceHealth device_health_;
  WorkerPool device_tests_;
  std::thread timer_;
  std::thread loader_;
};

// One, which uses all cores: with a second team of OpenMP threads there would be more threads than cores, and
// libgomp then puts idle threads to sleep at every barrier, which makes a request that runs alone 1.7 times
// slower.
constexpr int32_t kDefaultWorkers = 1;

int32_t Workers(const EngineOptions& options) {
  return options.workers > 0 ? options.workers : kDefaultWorkers;
}

// Of torch's threads that compute on the CPU, for each worker: together they use the quota once.
int32_t Threads(const EngineOptions& options) {
  if (options.intra_op_threads > 0) return options.intra_op_threads;
  const double cpus = std::ceil(admission::ReadHostResources().cpus);
  return std::max(1, static_cast<int32_t>(cpus) / Workers(options));
}

admission::AdmissionLimits LimitsOf(const EngineOptions& options, c10::Device device) {
  admission::AdmissionLimits limits;
  limits.queue_limit = options.queue_limit;
  limits.queue_bytes = options.queue_bytes;
  limits.queue_timeout = options.queue_timeout;
  limits.workers = Workers(options);
  limits.shared_tokens = options.share_chunks ? SharedTokens(device) : 0;
  return limits;
}

TorchEngine::TorchEngine(const EngineOptions& options, c10::Device device, telemetry::Metrics& metrics,
                         std::function<bool(const std::string& name, int64_t bytes)> holds)
    : options_(options),
      metrics_(metrics),
      device_(device),
      device_name_(device.str()),
      admission_metrics_(metrics, device_name_),
      residency_(
          {options.model_repository, device, options.model_memory_budget_bytes,
           options.repository_poll_interval, [device] { return FreeBytes(device); }, std::move(holds),
           [](const std::string& sentence) { telemetry::Log(telemetry::LogLevel::kWarning, sentence); }},
          models_, capture::LoadTorchScript),
      budget_(options.memory_budget_bytes > 0 ? options.memory_budget_bytes : DefaultBudget(device),
              [this](int64_t reserved) {
                metrics_.Set(MetricId::kMemoryReservedBytes, {device_name_}, static_cast<double>(reserved));
              }),
      admission_(budget_, LimitsOf(options, device), absl::Now, admission_metrics_),
      chunks_(workers_, ledger_, metrics_),
      threads_(Threads(options)),
      services_{models_,          admission_,
                intake_,          workers_,
                chunks_,          costs_,
                metrics_,         {options.max_sequences, options.max_sequence_length, options.chunk_policy},
                options.log_text, capture::RowsInWork(device.is_cpu() ? threads_ : 1),
                absl::Now,        [this](const AttributionCall* job) { OnJobFinished(job); }},
      rollouts_(services_, ledger_, device),
      intake_(1, nullptr, nullptr),
      workers_(
          Workers(options),
          [threads = threads_, device] {
            at::set_num_threads(threads);
            UseOwnStream(device);
          },
          [this](int32_t busy) { metrics_.Set(MetricId::kWorkersBusy, {device_name_}, busy); }),
      device_health_(
          device_name_, [device] { return TestDevice(device); },
          [this](std::function<void()> test) { device_tests_.Submit(std::move(test)); }, absl::Now),
      device_tests_(1, [device] { UseOwnStream(device); }, nullptr) {
  metrics_.DeclareDevice(device_name_);
  device_health_.Watch([this](const DeviceState& state) { OnDeviceState(state); });
  metrics_.Set(MetricId::kWorkers, {device_name_}, Workers(options));
  SetBudgetGauge();
  models_.Watch([this](const ModelInfo& info) { OnModelState(info); });
}

// Hears a change before anyone else does, so that the numbers are right when a model is said to serve.
void TorchEngine::OnModelState(const ModelInfo& info) {
  const bool serving = info.state == ModelState::kServing;
  metrics_.DeclareModel(info.name, info.version, device_name_);
  metrics_.Set(MetricId::kModelLoaded, {info.name, info.version, device_name_}, serving ? 1 : 0);
  metrics_.Set(MetricId::kModelResidentBytes, {info.name, info.version, device_name_},
               static_cast<double>(info.resident_bytes));
  if (info.load_seconds > 0) {
    if (serving) LogLoad(info);
    metrics_.Observe(MetricId::kModelLoadSeconds, {info.name, info.version, device_name_}, info.load_seconds);
  }
  if (info.state == ModelState::kLoading || options_.memory_budget_bytes > 0) return;
  budget_.SetBudget(DefaultBudget(device_) + budget_.reserved_bytes() / 5 * 4);
  SetBudgetGauge();
}

void TorchEngine::OnDeviceState(const DeviceState& state) {
  metrics_.Set(MetricId::kDeviceHealthy, {state.device}, state.status.ok() ? 1 : 0);
  if (!state.status.ok()) telemetry::Log(telemetry::LogLevel::kError, std::string(state.status.message()));
}

void TorchEngine::SetBudgetGauge() {
  metrics_.Set(MetricId::kMemoryBudgetBytes, {device_name_}, static_cast<double>(budget_.budget_bytes()));
}

TorchEngine::~TorchEngine() {
  Drain(absl::ZeroDuration());
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (timer_.joinable()) timer_.join();
  if (loader_.joinable()) loader_.join();
}

absl::Status TorchEngine::Start() {
  if (absl::Status status = residency_.Scan(); !status.ok()) return status;
  admission_.SetWakeListener([this] {
    const std::lock_guard lock(mutex_);
    queue_changed_ = true;
    changed_.notify_all();
  });
  timer_ = std::thread([this] { KeepTime(); });
  loader_ = std::thread([this] { residency_.Run(); });
  return absl::OkStatus();
}

// Ends waiting requests whose time is up, and has the device tested when that is due.
void TorchEngine::KeepTime() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    admission_.Expire();
    device_health_.Check();
    const absl::Time next = std::min(admission_.NextExpiry(), device_health_.NextCheck());
    const absl::Duration pause = next - absl::Now();
    lock.lock();
    changed_.wait_for(lock, absl::ToChronoNanoseconds(pause), [this] { return stopping_ || queue_changed_; });
    queue_changed_ = false;
  }
}

std::shared_ptr<AttributionCall> TorchEngine::Attribute(AttributionRequest request, CallContext context,
                                                        std::shared_ptr<EventSink> sink) {
  auto job =
      std::make_shared<AttributionJob>(services_, std::move(request), std::move(context), std::move(sink));
  {
    const std::lock_guard lock(mutex_);
    jobs_[job.get()] = job;
  }
  job->Start();
  return job;
}

void TorchEngine::Estimate(EstimateRequest request,
                           std::function<void(absl::StatusOr<AdmissionEstimate>)> done) {
  intake_.Submit([this, request = std::move(request), done = std::move(done)] {
    absl::StatusOr<AdmissionEstimate> estimate;
    const absl::Status status = Guarded([&] {
      estimate = EstimateAdmission(services_, budget_, request);
      return estimate.status();
    });
    done(status.ok() ? std::move(estimate) : status);
  });
}

std::shared_ptr<RolloutCall> TorchEngine::Rollout(RolloutRequest request, CallContext context,
                                                  std::shared_ptr<EventSink> sink) {
  auto job = std::make_shared<RolloutJob>(rollouts_, std::move(request), std::move(context), std::move(sink));
  {
    const std::lock_guard lock(mutex_);
    jobs_[job.get()] = job;
  }
  job->Start();
  return job;
}

void TorchEngine::OnJobFinished(const AttributionCall* job) {
  std::shared_ptr<AttributionCall> last;  // released after the lock
  const std::lock_guard lock(mutex_);
  const auto found = jobs_.find(job);
  last = std::move(found->second);
  jobs_.erase(found);
  changed_.notify_all();
}

bool TorchEngine::WaitForJobs(absl::Duration patience) {
  // A year at most: an infinite patience would overflow the clock and end at once.
  const auto limit = absl::ToChronoNanoseconds(std::min(patience, absl::Hours(24 * 365)));
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [this] { return jobs_.empty(); });
}

bool TorchEngine::Drain(absl::Duration grace) {
  residency_.Stop();
  admission_.Drain();
  if (WaitForJobs(grace)) return true;
  std::vector<std::shared_ptr<AttributionCall>> left;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& entry : jobs_) left.push_back(entry.second);
  }
  for (const std::shared_ptr<AttributionCall>& job : left) job->Cancel();
  left.clear();
  while (!WaitForJobs(absl::Hours(1))) {
  }
  return false;
}

// What each device has for models: the budget, else half of what is free; the other half is for requests.
std::vector<int64_t> RoomsForModels(const EngineOptions& options, const std::vector<c10::Device>& devices) {
  std::vector<int64_t> rooms;
  rooms.reserve(devices.size());
  for (const c10::Device device : devices) {
    rooms.push_back(options.model_memory_budget_bytes > 0 ? options.model_memory_budget_bytes
                                                          : FreeBytes(device) / 2);
  }
  return rooms;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> CreateEngine(const EngineOptions& options,
                                                     telemetry::Metrics& metrics) {
  const auto devices = ResolveDevices(options.device);
  if (!devices.ok()) return devices.status();
  memory::InstallRefusingAllocator();
  std::shared_ptr<models::Placement> placement;  // null for one device
  if (devices->size() > 1) {
    const auto scan = models::ScanRepository(options.model_repository);
    if (!scan.ok()) return scan.status();
    placement =
        std::make_shared<models::Placement>(models::ModelBytes(*scan), RoomsForModels(options, *devices));
  }
  std::vector<std::unique_ptr<Engine>> engines;
  for (size_t i = 0; i < devices->size(); ++i) {
    std::function<bool(const std::string&, int64_t)> holds;
    if (placement != nullptr) {
      holds = [placement, i](const std::string& name, int64_t bytes) {
        return placement->Holds(i, name, bytes);
      };
    }
    auto engine = std::make_unique<TorchEngine>(options, (*devices)[i], metrics, std::move(holds));
    if (absl::Status status = engine->Start(); !status.ok()) return status;
    engines.push_back(std::move(engine));
  }
  if (engines.size() == 1) return std::move(engines.front());
  return std::make_unique<DeviceEngines>(std::move(engines));
}

}  // namespace attribution::engine
