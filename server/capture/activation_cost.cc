// Three runs, three unknowns: peak(B, S) = B·S·t + B·S²·c + f.
//
//   p1 = peak(1, s)      p2 = peak(4, s): p2 - p1 = 3·s·t + 3·s²·c
//   p3 = peak(1, 3s):                     p3 - p1 = 2·s·t + 8·s²·c
//
// Allocations are exact multiples of tokens and cells but for alignment, so the system is solved, not
// regressed; a coefficient that comes out negative by alignment is 0.
//
// A pass has several moments that may be its peak, and which one is depends on the shape: the peak is the
// largest of such sums, and lies above the solution where it goes beyond the three runs. So a fourth one, of
// many short sequences, raises the bytes a token by what the solution lacks there.
#include "server/capture/activation_cost.h"

#include <algorithm>

namespace attribution::capture {

absl::StatusOr<ActivationCost> FitActivationCost(
    const std::function<absl::StatusOr<int64_t>(int64_t batch, int64_t length)>& peak_bytes,
    int64_t max_length, int64_t short_length) {
  const int64_t longest =
      max_length == 0 ? short_length : std::clamp<int64_t>(max_length / 3, 1, short_length);
  constexpr int64_t kShort = 4;  // for a model that turns out to take less than the graph told
  int64_t s = longest;
  auto p1 = peak_bytes(1, s);
  if (!p1.ok() && longest > kShort) p1 = peak_bytes(1, s = kShort);
  if (!p1.ok()) return p1.status();
  const auto p2 = peak_bytes(4, s);
  if (!p2.ok()) return p2.status();
  const auto p3 = max_length == 0 || 3 * s <= max_length ? peak_bytes(1, 3 * s) : p1;
  const bool long_enough = p3.ok() && (max_length == 0 || 3 * s <= max_length);

  const auto length = static_cast<double>(s);
  const auto by_batch = static_cast<double>(*p2 - *p1) / (3 * length);  // t + s·c
  ActivationCost cost;
  if (long_enough) {
    const auto by_length = static_cast<double>(*p3 - *p1) / (2 * length);  // t + 4·s·c
    cost.bytes_per_cell = std::max(0.0, (by_length - by_batch) / (3 * length));
  }
  cost.bytes_per_token = std::max(0.0, by_batch - length * cost.bytes_per_cell);
  cost.fixed_bytes = std::max(
      0.0, static_cast<double>(*p1) - length * cost.bytes_per_token - length * length * cost.bytes_per_cell);

  constexpr int64_t kManySequences = 16;
  const int64_t half = std::max<int64_t>(1, s / 2);
  const auto p4 = peak_bytes(kManySequences, half);
  if (!p4.ok()) return p4.status();
  const auto tokens = static_cast<double>(kManySequences * half);
  const double solved = tokens * cost.bytes_per_token +
                        tokens * static_cast<double>(half) * cost.bytes_per_cell + cost.fixed_bytes;
  cost.bytes_per_token += std::max(0.0, (static_cast<double>(*p4) - solved) / tokens);
  return cost;
}

// The peak is the largest of sums a·B + c, one a moment, c >= 0. None of them has more than peak(8) / 8 a
// sequence, so a line of that slope through peak(1) lies below no batch.
absl::StatusOr<ActivationCost> FitActivationCostOfFixedSize(
    const std::function<absl::StatusOr<int64_t>(int64_t batch)>& peak_bytes, int64_t length) {
  constexpr int64_t kSequences = 8;
  const auto one = peak_bytes(1);
  if (!one.ok()) return one.status();
  const auto several = peak_bytes(kSequences);
  if (!several.ok()) return several.status();
  const double a_sequence = std::max(static_cast<double>(*several) / kSequences,
                                     static_cast<double>(*several - *one) / (kSequences - 1));
  ActivationCost cost;
  cost.bytes_per_token = a_sequence / static_cast<double>(std::max<int64_t>(1, length));
  cost.fixed_bytes = std::max(0.0, static_cast<double>(*one) - a_sequence);
  return cost;
}

}  // namespace attribution::capture
