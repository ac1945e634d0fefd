// The one table of metrics: every family that /metrics shows, with its type, help, labels and buckets.
//
// Constants only. To add a family, add an id and a row; Metrics and the tests follow. Units are base units,
// in the name.
#ifndef SERVER_TELEMETRY_METRIC_TABLE_H_
#define SERVER_TELEMETRY_METRIC_TABLE_H_

#include <cstddef>
#include <span>

namespace attribution::telemetry {

enum class MetricId {
  kGrpcStarted,
  kGrpcHandled,
  kGrpcMessagesReceived,
  kGrpcMessagesSent,
  kGrpcHandlingSeconds,
  kAdmissionDecisions,
  kAdmissionEstimatedBytes,
  kAdmissionEstimateRatio,
  kRequestPeakBytes,
  kMemoryBudgetBytes,
  kMemoryReservedBytes,
  kMemoryAllocatedPeakBytes,
  kQueueDepth,
  kQueueSeconds,
  kWorkers,
  kWorkersBusy,
  kForwardSeconds,
  kRolloutSeconds,
  kFirstEventSeconds,
  kCancelLatencySeconds,
  kChunkSize,
  kChunks,
  kOutOfMemory,
  kOutOfMemoryRecovered,
  kRequests,
  kModelLoaded,
  kModelLoadSeconds,
  kModelResidentBytes,
  kDeviceHealthy,
  kBuildInfo,
  kRolloutEntropy,
  kRolloutEntropyNormalized,
  kAttentionEntropy,
  kAttentionEntropyNormalized,
  kAttentionConcentration,
};

enum class MetricType { kCounter, kGauge, kHistogram };

// What tells the children of a family apart, by the names of its labels:
enum class LabelSet {
  kNone,
  kDecision,       // decision, reason
  kOutcome,        // outcome
  kDevice,         // device
  kModel,          // model, version, device
  kMethod,         // grpc_type, grpc_service, grpc_method
  kMethodAndCode,  // grpc_type, grpc_service, grpc_method, grpc_code
  kBuild,          // version, torch_version
};

// Names of the labels of a set, in the order in which Metrics takes their values.
std::span<const char* const> LabelNames(LabelSet labels);

struct MetricDefinition {
  MetricId id;
  const char* name;
  MetricType type;
  LabelSet labels;
  std::span<const double> buckets;  // upper bounds, rising, without +Inf; empty unless a histogram
  const char* help;
};

// Every family, in the order of MetricId.
std::span<const MetricDefinition> MetricTable();

// The row of `id`.
const MetricDefinition& DefinitionOf(MetricId id);

}  // namespace attribution::telemetry

#endif  // SERVER_TELEMETRY_METRIC_TABLE_H_
