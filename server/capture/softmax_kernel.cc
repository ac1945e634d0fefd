// Loops are written for the vectoriser: no branches, no calls, reductions that may be reordered. The
// exponential is the usual one: e^x = 2^k · 2^f with k the nearest integer to x·log2(e), |f| <= 1/2, and a
// polynomial of degree 6 for 2^f (Taylor coefficients ln(2)^n / n!, truncation below 2e-8 relative).
#include "server/capture/softmax_kernel.h"

#include <algorithm>
#include <bit>
#include <limits>

// One copy of the kernel for each level of x86, chosen when the program starts. Sanitizers cannot run before
// main, where the choice is made, and clang does not know the attribute by these names.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define ATTRIBUTION_FOR_EACH_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define ATTRIBUTION_FOR_EACH_CPU
#endif

namespace attribution::capture {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr float kLog2E = 1.44269504088896341F;

// 2^x for x <= 0, and 0 below 2^-126: what a mask hides is exactly 0. NaN stays NaN.
__attribute__((always_inline)) inline float Exp2(float x) {
  // Adding 1.5·2^23 leaves the nearest integer in the lowest bits.
  constexpr float kRound = 12582912.0F;
  const float rounded = x + kRound;
  const float f = x - (rounded - kRound);
  float power = 1.5403530393381609e-4F;
  power = power * f + 1.3333558146428443e-3F;
  power = power * f + 9.6181291076284772e-3F;
  power = power * f + 5.5504108664821580e-2F;
  power = power * f + 2.4022650695910071e-1F;
  power = power * f + 6.9314718055994531e-1F;
  power = power * f + 1.0F;
  const auto exponent = (std::bit_cast<uint32_t>(rounded) + 127U) << 23U;
  const float result = power * std::bit_cast<float>(exponent);
  return x < -126.0F ? 0.0F : result;
}

// Whether a row of scores is hidden as a whole by the mask, not by the scores themselves.
bool Hides(const float* mask, int64_t columns) {
  return mask != nullptr &&
         std::all_of(mask, mask + columns, [](float cell) { return cell == kMinusInfinity; });
}

ATTRIBUTION_FOR_EACH_CPU
float AddMaskAndFindMaximum(float* row, const float* mask, int64_t columns) {
  float maximum = kMinusInfinity;
  if (mask == nullptr) {
#pragma omp simd reduction(max : maximum)
    for (int64_t j = 0; j < columns; ++j) maximum = row[j] > maximum ? row[j] : maximum;
    return maximum;
  }
#pragma omp simd reduction(max : maximum)
  for (int64_t j = 0; j < columns; ++j) {
    row[j] += mask[j];
    maximum = row[j] > maximum ? row[j] : maximum;
  }
  return maximum;
}

ATTRIBUTION_FOR_EACH_CPU
void NormalisedExponentials(float* row, int64_t columns, float maximum) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < columns; ++j) {
    row[j] = Exp2((row[j] - maximum) * kLog2E);
    sum += row[j];
  }
  const float scale = 1.0F / sum;
#pragma omp simd
  for (int64_t j = 0; j < columns; ++j) row[j] *= scale;
}

}  // namespace

void SoftmaxInPlace(const ScoreBlock& scores, const AddedMask& mask, int64_t causal_row,
                    HiddenRows hidden_rows) {
  float* row = scores.cells;
  for (int64_t h = 0; h < scores.heads; ++h) {
    for (int64_t i = 0; i < scores.rows; ++i, row += scores.columns) {
      const float* added =
          mask.cells == nullptr ? nullptr : mask.cells + h * mask.head_stride + i * mask.row_stride;
      const int64_t seen =
          causal_row == kNotCausal ? scores.columns : std::min(scores.columns, causal_row + i + 1);
      std::fill(row + seen, row + scores.columns, 0.0F);
      const float maximum = AddMaskAndFindMaximum(row, added, seen);
      if (hidden_rows == HiddenRows::kZero && maximum == kMinusInfinity && Hides(added, seen)) {
        std::fill_n(row, seen, 0.0F);
      } else {
        NormalisedExponentials(row, seen, maximum);
      }
    }
  }
}

}  // namespace attribution::capture
