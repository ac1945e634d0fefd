// CostCorrection learns by how much a model's measured peaks differ from what was predicted of them.
//
// The fit at load is of short runs; requests run other shapes, where other operators are the peak. So what
// the model takes at its largest moment is multiplied by a factor, one for each band of shapes: sequences by
// octaves, lengths by half octaves, and ways of folding apart. A factor follows the largest ratio that was
// measured lately: it rises at once and falls slowly. Bands that have not been seen borrow from near ones.
#ifndef SERVER_ADMISSION_COST_CORRECTION_H_
#define SERVER_ADMISSION_COST_CORRECTION_H_

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/admission/memory_model.h"

namespace attribution::admission {

inline constexpr double kSmallestCorrection = 0.25;
inline constexpr double kLargestCorrection = 4;

// Shapes that are corrected alike.
struct CostBand {
  int32_t folding = 0;
  int32_t sequences = 0;
  int32_t length = 0;

  friend auto operator<=>(const CostBand&, const CostBand&) = default;
};

// What was learned up to one moment. Immutable; any thread.
class CorrectionFactors {
 public:
  explicit CorrectionFactors(std::vector<std::pair<CostBand, double>> factors)
      : factors_(std::move(factors)) {}

  // What PeakTerms::moment is to be multiplied by, in [kSmallestCorrection, kLargestCorrection].
  double FactorFor(const ChunkShape& chunk, const OutputCost& output,
                   const std::optional<RowsAlone>& rows_alone) const;

  // The same of any shape of `band`.
  double Of(const CostBand& band) const;

 private:
  const std::vector<std::pair<CostBand, double>> factors_;
};

// Of one model version. Thread-safe.
class CostCorrection {
 public:
  // For ModelCost::correction of the plans that follow. Null until something was learned.
  std::shared_ptr<const CorrectionFactors> factors() const;

  // Learns from a chunk that allocated `measured_bytes` at its peak. The other arguments are those of its
  // PredictPeak; whether `model` was corrected does not matter.
  void Observe(const ModelCost& model, const ChunkShape& chunk, const OutputCost& output,
               const std::optional<RowsAlone>& rows_alone, int64_t measured_bytes);

  // Learns from a chunk that failed because it needed `bytes` at least.
  void ObserveAtLeast(const ModelCost& model, const ChunkShape& chunk, const OutputCost& output,
                      const std::optional<RowsAlone>& rows_alone, int64_t bytes);

 private:
  struct Learned {
    double before = 1;         // the factor that the band borrowed until it was seen
    double largest_ratio = 0;  // since the last turn of the window
    double earlier_ratio = 0;  // in the window before
    int32_t in_window = 0;
    int64_t observations = 0;

    double Factor() const;
  };

  double FactorOf(const CostBand& band) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Learn(const CostBand& band, double ratio) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable std::mutex mutex_;
  std::map<CostBand, Learned> bands_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const CorrectionFactors> factors_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace attribution::admission

#endif  // SERVER_ADMISSION_COST_CORRECTION_H_
