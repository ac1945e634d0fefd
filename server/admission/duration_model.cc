// Least squares of relative errors: of predicted / seconds - 1. The coefficients are found by coordinate
// descent, each held at 0 or above. A small penalty on the fixed seconds and on those a cell gives to the
// tokens what the shapes that were seen cannot tell apart.
#include "server/admission/duration_model.h"

#include <algorithm>
#include <cmath>

namespace attribution::admission {
namespace {

constexpr int64_t kLeastObservations = 3;
constexpr double kForgetting = 0.98;  // an observation counts half after 34 more
constexpr double kFar = 2;            // times longer or shorter than predicted
constexpr double kPenalty = 1e-3;     // of the weight of all observations
constexpr int kRounds = 60;
constexpr int kTokenTerm = 1;
constexpr std::array<int, 3> kOrder = {kTokenTerm, 0, 2};  // the tokens take what they can first

}  // namespace

// Scaled, so that the coefficients are of the same order.
DurationModel::Terms DurationModel::TermsOf(double sequences, double length) {
  return {1, sequences * length / 1e3, sequences * length * length / 1e6};
}

double DurationModel::Predict(const Terms& terms) const {
  double seconds = 0;
  for (int i = 0; i < kTerms; ++i) seconds += coefficients_[i] * terms[i];
  return seconds;
}

void DurationModel::Observe(int64_t sequences, int64_t padded_length, double seconds) {
  if (!(seconds > 0) || !std::isfinite(seconds) || sequences < 1 || padded_length < 1) return;
  const Terms terms = TermsOf(static_cast<double>(sequences), static_cast<double>(padded_length));
  const std::lock_guard lock(mutex_);
  double weight = 1;
  if (observations_ >= kLeastObservations) {
    const double ratio = seconds / Predict(terms);
    weight = std::min(1.0, kFar / std::max(ratio, 1 / ratio));
  }
  ++observations_;
  for (int i = 0; i < kTerms; ++i) {
    sums_[i] = kForgetting * sums_[i] + weight * terms[i] / seconds;
    for (int j = 0; j < kTerms; ++j) {
      products_[i][j] = kForgetting * products_[i][j] + weight * terms[i] * terms[j] / (seconds * seconds);
    }
  }
  Solve();
}

void DurationModel::Solve() {
  for (int round = 0; round < kRounds; ++round) {
    for (const int i : kOrder) {
      double rest = sums_[i];
      for (int j = 0; j < kTerms; ++j) {
        if (j != i) rest -= products_[i][j] * coefficients_[j];
      }
      const double penalty = i == kTokenTerm ? 1 : 1 + kPenalty;
      coefficients_[i] = products_[i][i] > 0 ? std::max(0.0, rest / (products_[i][i] * penalty)) : 0;
    }
  }
}

double DurationModel::ChunkSeconds(int64_t sequences, int64_t padded_length) const {
  const std::lock_guard lock(mutex_);
  if (observations_ < kLeastObservations) return 0;
  return Predict(TermsOf(static_cast<double>(std::max<int64_t>(sequences, 0)),
                         static_cast<double>(std::max<int64_t>(padded_length, 0))));
}

double DurationModel::RequestSeconds(const std::vector<int64_t>& lengths) const {
  Terms terms = {1, 0, 0};
  for (const int64_t length : lengths) {
    const Terms own = TermsOf(1, static_cast<double>(std::max<int64_t>(length, 0)));
    for (int i = 1; i < kTerms; ++i) terms[i] += own[i];
  }
  const std::lock_guard lock(mutex_);
  return observations_ < kLeastObservations ? 0 : Predict(terms);
}

}  // namespace attribution::admission
