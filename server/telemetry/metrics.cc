#include "server/telemetry/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <sstream>
#include <utility>

#include "server/telemetry/label_values.h"
#include "server/telemetry/logging.h"

namespace attribution::telemetry {
namespace {

// A child of a family; one pointer is set, by the type of the family.
struct Child {
  prometheus::Counter* counter = nullptr;
  prometheus::Gauge* gauge = nullptr;
  prometheus::Histogram* histogram = nullptr;
};

// Orders lists of labels without making strings of what is looked up.
struct LabelOrder {
  using is_transparent = void;
  template <typename A, typename B>
  bool operator()(const A& a, const B& b) const {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                        [](std::string_view x, std::string_view y) { return x < y; });
  }
};

}  // namespace

// One family of prometheus-cpp with its children by label values, so that counting does not rebuild a map of
// labels.
class Metrics::Family {
 public:
  explicit Family(const MetricDefinition& definition)
      : definition_(definition),
        counters_(definition.name, definition.help, {}),
        gauges_(definition.name, definition.help, {}),
        histograms_(definition.name, definition.help, {}) {}

  const MetricDefinition& definition() const { return definition_; }

  Child Get(Labels labels) {
    {
      std::shared_lock lock(mutex_);
      const auto found = children_.find(labels);
      if (found != children_.end()) return found->second;
    }
    std::unique_lock lock(mutex_);
    const auto found = children_.find(labels);
    if (found != children_.end()) return found->second;
    const Child child = Make(labels);
    children_.emplace(std::vector<std::string>(labels.begin(), labels.end()), child);
    return child;
  }

  prometheus::MetricFamily Collect() const {
    std::vector<prometheus::MetricFamily> collected;
    prometheus::MetricType type = prometheus::MetricType::Histogram;
    switch (definition_.type) {
      case MetricType::kCounter:
        collected = counters_.Collect();
        type = prometheus::MetricType::Counter;
        break;
      case MetricType::kGauge:
        collected = gauges_.Collect();
        type = prometheus::MetricType::Gauge;
        break;
      case MetricType::kHistogram:
        collected = histograms_.Collect();
        break;
    }
    if (!collected.empty()) return std::move(collected.front());
    return {definition_.name, definition_.help, type, {}};  // no children yet
  }

 private:
  Child Make(Labels values) {
    prometheus::Labels labels;
    auto value = values.begin();
    for (const char* name : LabelNames(definition_.labels)) labels.emplace(name, *value++);
    switch (definition_.type) {
      case MetricType::kCounter:
        return {.counter = &counters_.Add(labels)};
      case MetricType::kGauge:
        return {.gauge = &gauges_.Add(labels)};
      case MetricType::kHistogram:
        break;
    }
    const prometheus::Histogram::BucketBoundaries bounds(definition_.buckets.begin(),
                                                         definition_.buckets.end());
    return {.histogram = &histograms_.Add(labels, bounds)};
  }

  const MetricDefinition& definition_;
  prometheus::Family<prometheus::Counter> counters_;
  prometheus::Family<prometheus::Gauge> gauges_;
  prometheus::Family<prometheus::Histogram> histograms_;
  std::shared_mutex mutex_;
  std::map<std::vector<std::string>, Child, LabelOrder> children_;  // guarded by mutex_
};

Metrics::Metrics(const BuildInfo& build) {
  for (const MetricDefinition& definition : MetricTable())
    families_.push_back(std::make_unique<Family>(definition));
  for (const auto& [decision, reason] : kAdmissionDecisions) Declare(LabelSet::kDecision, {decision, reason});
  Declare(LabelSet::kNone, {});
  for (const char* outcome : kOutcomes) Declare(LabelSet::kOutcome, {outcome});
  Set(MetricId::kBuildInfo, {build.version, build.torch_version}, 1);
}

Metrics::~Metrics() = default;

void Metrics::Declare(LabelSet set, Labels labels) {
  for (const auto& family : families_) {
    if (family->definition().labels == set) family->Get(labels);
  }
}

void Metrics::DeclareDevice(std::string_view device) { Declare(LabelSet::kDevice, {device}); }

void Metrics::DeclareModel(std::string_view name, std::string_view version, std::string_view device) {
  Declare(LabelSet::kModel, {name, version, device});
}

void Metrics::DeclareMethod(std::string_view type, std::string_view service, std::string_view method) {
  Declare(LabelSet::kMethod, {type, service, method});
  for (const char* code : kGrpcCodes) Declare(LabelSet::kMethodAndCode, {type, service, method, code});
}

Metrics::Family* Metrics::Find(MetricId id, Labels labels, bool is_histogram) {
  Family& family = *families_[static_cast<size_t>(id)];
  const MetricDefinition& definition = family.definition();
  if ((definition.type == MetricType::kHistogram) == is_histogram &&
      labels.size() == LabelNames(definition.labels).size()) {
    return &family;
  }
  Log(LogLevel::kError, "A metric was counted wrongly. Please report this as a bug.",
      {{"metric", definition.name}, {"labels", labels.size()}});
  return nullptr;
}

void Metrics::Add(MetricId id, Labels labels, double value) {
  Family* const family = Find(id, labels, /*is_histogram=*/false);
  if (family == nullptr) return;
  const Child child = family->Get(labels);
  if (child.counter != nullptr) child.counter->Increment(value);
  if (child.gauge != nullptr) child.gauge->Increment(value);
}

void Metrics::Set(MetricId id, Labels labels, double value) {
  Family* const family = Find(id, labels, /*is_histogram=*/false);
  if (family == nullptr) return;
  const Child child = family->Get(labels);
  if (child.gauge != nullptr) child.gauge->Set(value);
}

void Metrics::Observe(MetricId id, Labels labels, double value) {
  Family* const family = std::isnan(value) ? nullptr : Find(id, labels, /*is_histogram=*/true);
  if (family != nullptr) family->Get(labels).histogram->Observe(value);
}

std::string Metrics::Text() const {
  std::vector<prometheus::MetricFamily> all;
  for (const auto& family : families_) all.push_back(family->Collect());
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, all);
  return text.str();
}

}  // namespace attribution::telemetry
