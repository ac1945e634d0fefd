#include "client/cli/latency_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>

namespace attribution::cli {
namespace {

constexpr int kSubBits = 7;  // 128 buckets for each power of two
constexpr double kMaxMicroseconds = 1e15;

// Value v lies in bucket v below 256. Above, its leading eight bits choose the bucket.
size_t BucketOf(uint64_t microseconds) {
  const int shift = std::max(0, static_cast<int>(std::bit_width(microseconds)) - kSubBits - 1);
  return (static_cast<size_t>(shift) << kSubBits) + static_cast<size_t>(microseconds >> shift);
}

// The largest value of a bucket.
uint64_t LastOf(size_t bucket) {
  const size_t shift = bucket < (size_t{2} << kSubBits) ? 0 : (bucket >> kSubBits) - 1;
  const uint64_t leading = bucket - (shift << kSubBits);
  return ((leading + 1) << shift) - 1;
}

}  // namespace

void LatencyHistogram::Add(double seconds) {
  seconds = std::max(0.0, seconds);
  const auto microseconds =
      static_cast<uint64_t>(std::llround(std::min(std::ceil(seconds * 1e6), kMaxMicroseconds)));
  const size_t bucket = BucketOf(microseconds);
  if (bucket >= counts_.size()) counts_.resize(bucket + 1);
  ++counts_[bucket];
  ++count_;
  sum_seconds_ += seconds;
  max_seconds_ = std::max(max_seconds_, seconds);
}

void LatencyHistogram::Merge(const LatencyHistogram& other) {
  counts_.resize(std::max(counts_.size(), other.counts_.size()));
  for (size_t i = 0; i < other.counts_.size(); ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  sum_seconds_ += other.sum_seconds_;
  max_seconds_ = std::max(max_seconds_, other.max_seconds_);
}

double LatencyHistogram::Quantile(double q) const {
  const auto wanted = static_cast<int64_t>(std::ceil(q * static_cast<double>(count_)));
  int64_t seen = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    seen += counts_[i];
    if (seen >= wanted && seen > 0) return std::min(static_cast<double>(LastOf(i)) * 1e-6, max_seconds_);
  }
  return 0;
}

std::vector<LatencyHistogram::Bucket> LatencyHistogram::PowersOfTwo() const {
  std::vector<Bucket> buckets;
  for (size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] == 0) continue;
    const uint64_t upper = std::bit_ceil(std::max<uint64_t>(LastOf(i), 1));
    if (buckets.empty()) buckets.push_back({static_cast<double>(upper) * 1e-6, 0});
    while (buckets.back().upper_seconds < static_cast<double>(upper) * 1e-6 * 0.75)
      buckets.push_back({buckets.back().upper_seconds * 2, 0});
    buckets.back().count += counts_[i];
  }
  return buckets;
}

}  // namespace attribution::cli
