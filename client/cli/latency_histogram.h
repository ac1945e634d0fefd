// LatencyHistogram counts durations with a relative error below 1 %, in constant memory.
//
// Below 128 us it counts single microseconds; above, each power of two is cut into 128 buckets. Not
// thread-safe.
#ifndef ATTRIBUTION_CLIENT_CLI_LATENCY_HISTOGRAM_H_
#define ATTRIBUTION_CLIENT_CLI_LATENCY_HISTOGRAM_H_

#include <cstdint>
#include <vector>

namespace attribution::cli {

class LatencyHistogram {
 public:
  // Durations between the bound of the bucket before, exclusive, and this one's.
  struct Bucket {
    double upper_seconds = 0;
    int64_t count = 0;
  };

  // Counts a duration; a negative one counts as 0.
  void Add(double seconds);

  void Merge(const LatencyHistogram& other);

  int64_t count() const { return count_; }
  double max() const { return max_seconds_; }
  double mean() const { return count_ == 0 ? 0 : sum_seconds_ / static_cast<double>(count_); }

  // The smallest bound that at least the share `q` of the durations does not exceed; 0 if there are none.
  // REQUIRES: 0 < q <= 1.
  double Quantile(double q) const;

  // Buckets of powers of two, from the first to the last that is not empty.
  std::vector<Bucket> PowersOfTwo() const;

 private:
  std::vector<int64_t> counts_;  // grows as needed
  int64_t count_ = 0;
  double sum_seconds_ = 0;
  double max_seconds_ = 0;
};

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_LATENCY_HISTOGRAM_H_
