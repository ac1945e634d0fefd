#include "server/telemetry/metric_table.h"

#include <array>

namespace attribution::telemetry {
namespace {

constexpr double kKiB = 1024;
constexpr double kMiB = 1024 * kKiB;
constexpr double kGiB = 1024 * kMiB;

constexpr double kSeconds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                               1,     2.5,    5,     10,   30,    60,   120, 300};
constexpr double kBytes[] = {64 * kKiB,  256 * kKiB, kMiB,     4 * kMiB,  16 * kMiB, 64 * kMiB,
                             256 * kMiB, kGiB,       4 * kGiB, 16 * kGiB, 64 * kGiB};
constexpr double kRatios[] = {0.25, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1, 1.05, 1.1, 1.25, 1.5, 2, 4};
constexpr double kSequences[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};
constexpr double kNats[] = {0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 10};
constexpr double kFractions[] = {0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1};

constexpr std::span<const double> kNoBuckets;

using enum MetricType;
using enum LabelSet;

constexpr MetricDefinition kTable[] = {
    {MetricId::kGrpcStarted, "grpc_server_started_total", kCounter, kMethod, kNoBuckets,
     "RPCs that started on the server."},
    {MetricId::kGrpcHandled, "grpc_server_handled_total", kCounter, kMethodAndCode, kNoBuckets,
     "RPCs that ended on the server, well or not."},
    {MetricId::kGrpcMessagesReceived, "grpc_server_msg_received_total", kCounter, kMethod, kNoBuckets,
     "Messages that RPCs received."},
    {MetricId::kGrpcMessagesSent, "grpc_server_msg_sent_total", kCounter, kMethod, kNoBuckets,
     "Messages that RPCs sent."},
    {MetricId::kGrpcHandlingSeconds, "grpc_server_handling_seconds", kHistogram, kMethod, kSeconds,
     "Time from the start of an RPC to its status."},
    {MetricId::kAdmissionDecisions, "attribution_admission_decisions_total", kCounter, kDecision, kNoBuckets,
     "Requests by what admission decided, and why."},
    {MetricId::kAdmissionEstimatedBytes, "attribution_admission_estimated_bytes", kHistogram, kNone, kBytes,
     "Predicted peak memory of admitted requests."},
    {MetricId::kAdmissionEstimateRatio, "attribution_admission_estimate_ratio", kHistogram, kNone, kRatios,
     "Measured over predicted peak memory of finished requests."},
    {MetricId::kRequestPeakBytes, "attribution_request_peak_bytes", kHistogram, kNone, kBytes,
     "Measured peak memory of finished requests."},
    {MetricId::kMemoryBudgetBytes, "attribution_memory_budget_bytes", kGauge, kDevice, kNoBuckets,
     "Memory that requests may use on a device, resident models not included."},
    {MetricId::kMemoryReservedBytes, "attribution_memory_reserved_bytes", kGauge, kDevice, kNoBuckets,
     "Memory reserved by admitted requests."},
    {MetricId::kMemoryAllocatedPeakBytes, "attribution_memory_allocated_peak_bytes", kGauge, kDevice,
     kNoBuckets, "Most memory that requests had allocated at one time, since the start."},
    {MetricId::kQueueDepth, "attribution_queue_depth", kGauge, kDevice, kNoBuckets,
     "Requests that wait to be admitted."},
    {MetricId::kQueueSeconds, "attribution_queue_seconds", kHistogram, kNone, kSeconds,
     "Time that admitted requests waited for memory and a worker."},
    {MetricId::kWorkers, "attribution_workers", kGauge, kDevice, kNoBuckets, "Threads that run chunks."},
    {MetricId::kWorkersBusy, "attribution_workers_busy", kGauge, kDevice, kNoBuckets,
     "Threads that run a chunk now."},
    {MetricId::kForwardSeconds, "attribution_forward_seconds", kHistogram, kModel, kSeconds,
     "Time of the forward pass of a chunk, rollout included."},
    {MetricId::kRolloutSeconds, "attribution_rollout_seconds", kHistogram, kModel, kSeconds,
     "Part of the forward pass of a chunk that measuring and folding its attention took."},
    {MetricId::kFirstEventSeconds, "attribution_first_event_seconds", kHistogram, kNone, kSeconds,
     "Time from the arrival of a request to its first event."},
    {MetricId::kCancelLatencySeconds, "attribution_cancel_latency_seconds", kHistogram, kNone, kSeconds,
     "Time from a cancellation to the end of the request, its memory released."},
    {MetricId::kChunkSize, "attribution_chunk_size", kHistogram, kModel, kSequences, "Sequences in a chunk."},
    {MetricId::kChunks, "attribution_chunks_total", kCounter, kModel, kNoBuckets, "Chunks that ran."},
    {MetricId::kOutOfMemory, "attribution_oom_total", kCounter, kModel, kNoBuckets,
     "Chunks that ran out of memory."},
    {MetricId::kOutOfMemoryRecovered, "attribution_oom_recovered_total", kCounter, kModel, kNoBuckets,
     "Of those, the ones whose sequences were computed after all, in smaller chunks."},
    {MetricId::kRequests, "attribution_requests_total", kCounter, kOutcome, kNoBuckets,
     "Attributions by how they ended."},
    {MetricId::kModelLoaded, "attribution_model_loaded", kGauge, kModel, kNoBuckets,
     "1 while a model version serves, else 0."},
    {MetricId::kModelLoadSeconds, "attribution_model_load_seconds", kHistogram, kModel, kSeconds,
     "Time to load a model version, self-check and calibration included."},
    {MetricId::kModelResidentBytes, "attribution_model_resident_bytes", kGauge, kModel, kNoBuckets,
     "Bytes of a resident model's parameters and buffers."},
    {MetricId::kDeviceHealthy, "attribution_device_healthy", kGauge, kDevice, kNoBuckets,
     "1 while a small computation on the device, done from time to time, comes out right, else 0."},
    {MetricId::kBuildInfo, "attribution_build_info", kGauge, kBuild, kNoBuckets,
     "1, labelled with versions of the running program."},
    {MetricId::kRolloutEntropy, "attribution_rollout_entropy", kHistogram, kModel, kNats,
     "Mean entropy of the rollout's rows in nats, one observation a sequence."},
    {MetricId::kRolloutEntropyNormalized, "attribution_rollout_entropy_normalized", kHistogram, kModel,
     kFractions, "The same divided by the logarithm of the number of valid positions."},
    {MetricId::kAttentionEntropy, "attribution_attention_entropy", kHistogram, kModel, kNats,
     "Mean entropy of the chosen layer's rows in nats, one observation a sequence."},
    {MetricId::kAttentionEntropyNormalized, "attribution_attention_entropy_normalized", kHistogram, kModel,
     kFractions, "The same divided by the logarithm of the number of valid positions."},
    {MetricId::kAttentionConcentration, "attribution_attention_concentration", kHistogram, kModel, kFractions,
     "Mean of the largest cell of the chosen layer's rows, one observation a sequence."},
};

constexpr bool RowsAreInOrder() {
  for (size_t i = 0; i < std::size(kTable); ++i) {
    if (static_cast<size_t>(kTable[i].id) != i) return false;
  }
  return true;
}
static_assert(RowsAreInOrder(), "Rows of the table stand in the order of MetricId.");

constexpr const char* kDecisionLabels[] = {"decision", "reason"};
constexpr const char* kOutcomeLabels[] = {"outcome"};
constexpr const char* kDeviceLabels[] = {"device"};
constexpr const char* kModelLabels[] = {"model", "version", "device"};
constexpr const char* kMethodAndCodeLabels[] = {"grpc_type", "grpc_service", "grpc_method", "grpc_code"};
constexpr const char* kBuildLabels[] = {"version", "torch_version"};

}  // namespace

std::span<const char* const> LabelNames(LabelSet labels) {
  switch (labels) {
    case kNone:
      break;
    case kDecision:
      return kDecisionLabels;
    case kOutcome:
      return kOutcomeLabels;
    case kDevice:
      return kDeviceLabels;
    case kModel:
      return kModelLabels;
    case kMethod:
      return std::span(kMethodAndCodeLabels).first(3);
    case kMethodAndCode:
      return kMethodAndCodeLabels;
    case kBuild:
      return kBuildLabels;
  }
  return {};
}

std::span<const MetricDefinition> MetricTable() { return kTable; }

const MetricDefinition& DefinitionOf(MetricId id) { return kTable[static_cast<size_t>(id)]; }

}  // namespace attribution::telemetry
