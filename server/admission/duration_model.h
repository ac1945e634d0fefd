// DurationModel learns how long chunks of a model take.
//
// The seconds of a chunk of B sequences padded to S are predicted as fixed + B·S·per_token + B·S²·per_cell,
// no coefficient negative. Chunks that took far longer or less than predicted, as happens on a machine that
// is shared, count for less; what is old is forgotten slowly.
#ifndef SERVER_ADMISSION_DURATION_MODEL_H_
#define SERVER_ADMISSION_DURATION_MODEL_H_

#include <array>
#include <cstdint>
#include <mutex>
#include <vector>

#include "absl/base/thread_annotations.h"

namespace attribution::admission {

// Of one model version. Thread-safe.
class DurationModel {
 public:
  // Learns from a chunk that took `seconds`. Does nothing if that is not above 0.
  void Observe(int64_t sequences, int64_t padded_length, double seconds);

  // The expected seconds of a chunk; 0 while too few were observed to tell.
  double ChunkSeconds(int64_t sequences, int64_t padded_length) const;

  // The expected seconds of computing sequences of these lengths, in one chunk or several, none of them
  // padded; 0 while unknown.
  double RequestSeconds(const std::vector<int64_t>& lengths) const;

 private:
  static constexpr int kTerms = 3;
  using Terms = std::array<double, kTerms>;

  static Terms TermsOf(double sequences, double length);
  double Predict(const Terms& terms) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Solve() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable std::mutex mutex_;
  // Sums of the normal equations, of terms over seconds.
  std::array<Terms, kTerms> products_ ABSL_GUARDED_BY(mutex_) = {};
  Terms sums_ ABSL_GUARDED_BY(mutex_) = {};
  Terms coefficients_ ABSL_GUARDED_BY(mutex_) = {};
  int64_t observations_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace attribution::admission

#endif  // SERVER_ADMISSION_DURATION_MODEL_H_
