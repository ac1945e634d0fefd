// The ratio of a chunk is what it took beyond the terms that are exact, over the moment that was predicted:
//
//   ratio = (measured - held) / moment
//
// If the chunk's end explains all of it, it says nothing about the moment. The factor of a band is
//
//   kHeadroom · (the largest ratio of the last 32 to 64 observations)
//
// and where that is lower than what the band had before it was seen, it comes down to it by three tenths of
// the way each time, so that a discount is given for many measurements alone.
#include "server/admission/cost_correction.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace attribution::admission {
namespace {

constexpr double kHeadroom = 1.06;       // shapes of one band differ
constexpr double kKept = 0.7;            // of what a factor is too large, for each observation
constexpr int32_t kWindow = 32;          // observations
constexpr double kBorrowed = 0.9;        // of a near band's correction, for each band between
constexpr int32_t kOtherFolding = 2;     // bands away
constexpr int32_t kNearby = 2;           // bands farther than the nearest that count too
constexpr double kAfterFailure = 1.125;  // what a failed chunk needed beyond what it was refused at

CostBand BandOf(const ChunkShape& chunk, const OutputCost& output,
                const std::optional<RowsAlone>& rows_alone) {
  const auto octave = [](int64_t number) {
    return static_cast<int32_t>(std::bit_width(static_cast<uint64_t>(std::max<int64_t>(number, 1)))) - 1;
  };
  const int32_t length = octave(chunk.padded_length);
  const bool upper_half = static_cast<double>(chunk.padded_length) >= std::ldexp(std::sqrt(2.0), length);
  const int32_t alone = !rows_alone.has_value() ? 0 : rows_alone->keeps_layers ? 1 : 8;
  const int32_t folding = alone + (output.uniform_rollout ? 2 : 0) + (output.layer_metrics ? 4 : 0);
  return {folding, octave(chunk.sequences), 2 * length + (upper_half ? 1 : 0)};
}

int32_t Distance(const CostBand& a, const CostBand& b) {
  return std::abs(a.sequences - b.sequences) + std::abs(a.length - b.length) +
         (a.folding == b.folding ? 0 : kOtherFolding);
}

double Bounded(double factor) { return std::clamp(factor, kSmallestCorrection, kLargestCorrection); }

}  // namespace

// Its own factor, or the largest that it borrows of the bands about as near as the nearest; never a discount,
// which one shape has no right to by what another took.
double CorrectionFactors::Of(const CostBand& band) const {
  int32_t nearest = std::numeric_limits<int32_t>::max() - kNearby;
  for (const auto& [other, factor] : factors_) nearest = std::min(nearest, Distance(band, other));
  const int32_t farthest = nearest == 0 ? 0 : nearest + kNearby;
  double largest = 0;
  for (const auto& [other, factor] : factors_) {
    const int32_t distance = Distance(band, other);
    if (distance <= farthest) largest = std::max(largest, 1 + (factor - 1) * std::pow(kBorrowed, distance));
  }
  return nearest == 0 ? largest : std::max(1.0, largest);
}

double CorrectionFactors::FactorFor(const ChunkShape& chunk, const OutputCost& output,
                                    const std::optional<RowsAlone>& rows_alone) const {
  return Of(BandOf(chunk, output, rows_alone));
}

double CostCorrection::Learned::Factor() const {
  const double measured = kHeadroom * std::max(largest_ratio, earlier_ratio);
  const double held_back = std::max(0.0, before - measured) * std::pow(kKept, observations);
  return Bounded(measured + held_back);
}

std::shared_ptr<const CorrectionFactors> CostCorrection::factors() const {
  const std::lock_guard lock(mutex_);
  return factors_;
}

void CostCorrection::Observe(const ModelCost& model, const ChunkShape& chunk, const OutputCost& output,
                             const std::optional<RowsAlone>& rows_alone, int64_t measured_bytes) {
  const PeakTerms terms = PredictTerms(model, chunk, output, rows_alone);
  const double taken = static_cast<double>(measured_bytes) - terms.own_held - terms.common_held;
  if (!(taken > terms.own_output + terms.common_end) || !(terms.moment > 0)) return;
  const CostBand band = BandOf(chunk, output, rows_alone);
  const std::lock_guard lock(mutex_);
  Learn(band, taken / terms.moment);
}

void CostCorrection::ObserveAtLeast(const ModelCost& model, const ChunkShape& chunk, const OutputCost& output,
                                    const std::optional<RowsAlone>& rows_alone, int64_t bytes) {
  const PeakTerms terms = PredictTerms(model, chunk, output, rows_alone);
  const double taken = static_cast<double>(bytes) - terms.own_held - terms.common_held;
  if (!(taken > 0) || !(terms.moment > 0)) return;
  const CostBand band = BandOf(chunk, output, rows_alone);
  const double ratio = kAfterFailure * taken / terms.moment;
  const std::lock_guard lock(mutex_);
  if (ratio > FactorOf(band)) Learn(band, ratio);
}

double CostCorrection::FactorOf(const CostBand& band) const {
  return factors_ == nullptr ? 1 : factors_->Of(band);
}

void CostCorrection::Learn(const CostBand& band, double ratio) {
  const auto [found, is_new] = bands_.try_emplace(band);
  Learned& learned = found->second;
  if (is_new) learned.before = FactorOf(band);
  if (learned.in_window == kWindow) {
    learned.earlier_ratio = std::exchange(learned.largest_ratio, 0);
    learned.in_window = 0;
  }
  ++learned.in_window;
  ++learned.observations;
  learned.largest_ratio = std::max(learned.largest_ratio, ratio);

  std::vector<std::pair<CostBand, double>> factors;
  factors.reserve(bands_.size());
  for (const auto& [other, others] : bands_) factors.emplace_back(other, others.Factor());
  factors_ = std::make_shared<const CorrectionFactors>(std::move(factors));
}

}  // namespace attribution::admission
