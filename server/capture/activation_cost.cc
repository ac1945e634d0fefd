// Six runs, six unknowns of each moment:
//
//   bytes(B, S) = B·(S²·c + S·t + q) + S²·m + S·p + f      at B = 2, 3 and S = s, 2s, 3s
//
// A sequence more takes S²·c + S·t + q; what bytes(2, S) has beyond two of that is S²·m + S·p + f. Each is a
// parabola through three points. Allocations are exact multiples of these numbers, so the systems are solved,
// not regressed; no number may be negative. One sequence alone may take less: it needs no copies that make a
// batch contiguous.
//
// A moment is the largest of many such sums, one an operator, and which one it is depends on the shape. So
// the solution holds near the runs alone: lengths far apart have ranges of their own, and a seventh run, of
// many sequences, raises the bytes a token by what the solution lacks there.
#include "server/capture/activation_cost.h"

#include <algorithm>

namespace attribution::capture {
namespace {

// At s, 2s and 3s; fewer where the model takes nothing so long.
using Values = std::vector<double>;

// length²·square + length·linear + fixed, none negative.
struct Parabola {
  double square = 0;
  double linear = 0;
  double fixed = 0;

  double At(double length) const { return (length * square + linear) * length + fixed; }
};

// Through the values where such a parabola exists, else above them.
Parabola Solve(const Values& values, double s) {
  Parabola result;
  if (values.size() < 3) {
    result.linear = std::max(0.0, values[0] / s);
    return result;
  }
  result.square = std::max(0.0, (values[2] - 2 * values[1] + values[0]) / (2 * s * s));
  result.linear = std::max(0.0, (values[2] - values[0]) / (2 * s) - 4 * s * result.square);
  if (values[0] - result.At(s) < 0) {  // through 0 and the outer two
    result.square = std::max(0.0, (values[2] - 3 * values[0]) / (6 * s * s));
    result.linear = std::max(0.0, values[0] / s - s * result.square);
  }
  double lacking = 0;
  for (size_t i = 0; i < values.size(); ++i)
    lacking = std::max(lacking, values[i] - result.At(s * static_cast<double>(i + 1)));
  result.fixed = lacking;
  return result;
}

// The runs of one range, as one of its moments sees them.
struct Runs {
  int64_t length = 1;  // s
  Values two = {};     // sequences
  Values three = {};
  int64_t many_sequences = 0;
  int64_t many_length = 0;
  double many = 0;
};

MomentCost Fit(const Runs& runs) {
  const auto s = static_cast<double>(runs.length);
  Values more(runs.two.size());
  for (size_t i = 0; i < more.size(); ++i) more[i] = std::max(0.0, runs.three[i] - runs.two[i]);
  const Parabola sequence = Solve(more, s);
  Values rest(runs.two.size());
  for (size_t i = 0; i < rest.size(); ++i) {
    const double length = s * static_cast<double>(i + 1);
    // Nor below the runs of three, where their parabola lies below them.
    rest[i] = std::max(runs.two[i] - 2 * sequence.At(length), runs.three[i] - 3 * sequence.At(length));
  }
  const Parabola shared = Solve(rest, s);
  MomentCost cost{.bytes_per_token = sequence.linear,
                  .bytes_per_cell = sequence.square,
                  .bytes_per_sequence = sequence.fixed,
                  .bytes_per_position = shared.linear,
                  .bytes_per_square = shared.square,
                  .fixed_bytes = shared.fixed};
  const auto length = static_cast<double>(runs.many_length);
  const auto batch = static_cast<double>(runs.many_sequences);
  const double lacking = runs.many - batch * sequence.At(length) - shared.At(length);
  cost.bytes_per_token += std::max(0.0, lacking / (batch * length));
  return cost;
}

absl::StatusOr<RangeCost> FitRange(
    const std::function<absl::StatusOr<MeasuredRun>(int64_t batch, int64_t length)>& run, int64_t max_length,
    int64_t s, double& score_bytes_per_cell) {
  Runs forward{.length = s};
  Runs attention{.length = s};
  for (int64_t times = 1; times <= 3; ++times) {
    if (times > 1 && max_length > 0 && 3 * s > max_length) break;
    const auto two = run(2, times * s);
    if (!two.ok()) return two.status();
    const auto three = run(3, times * s);
    if (!three.ok()) return three.status();
    forward.two.push_back(static_cast<double>(two->forward_bytes));
    forward.three.push_back(static_cast<double>(three->forward_bytes));
    attention.two.push_back(static_cast<double>(two->attention_bytes));
    attention.three.push_back(static_cast<double>(three->attention_bytes));
    score_bytes_per_cell =
        std::max({score_bytes_per_cell, two->score_bytes_per_cell, three->score_bytes_per_cell});
  }
  constexpr int64_t kManySequences = 16;
  const int64_t half = std::max<int64_t>(1, s / 2);
  const auto many = run(kManySequences, half);
  if (!many.ok()) return many.status();
  for (Runs* runs : {&forward, &attention}) {
    runs->many_sequences = kManySequences;
    runs->many_length = half;
  }
  forward.many = static_cast<double>(many->forward_bytes);
  attention.many = static_cast<double>(many->attention_bytes);
  return RangeCost{.from_length = 1, .forward = Fit(forward), .attention = Fit(attention)};
}

// The peak is the largest of sums a·B + c, one a moment, c >= 0. None of them has more than peak(8) / 8 a
// sequence, so a line of that slope through peak(1) lies below no batch.
MomentCost FitFixedSize(int64_t one, int64_t several, int64_t sequences, int64_t length) {
  const auto batch = static_cast<double>(sequences);
  const double a_sequence =
      std::max(static_cast<double>(several) / batch, static_cast<double>(several - one) / (batch - 1));
  MomentCost cost;
  cost.bytes_per_token = a_sequence / static_cast<double>(std::max<int64_t>(1, length));
  cost.fixed_bytes = std::max(0.0, static_cast<double>(one) - a_sequence);
  return cost;
}

}  // namespace

absl::StatusOr<ActivationCost> FitActivationCost(
    const std::function<absl::StatusOr<MeasuredRun>(int64_t batch, int64_t length)>& run, int64_t max_length,
    const std::vector<int64_t>& lengths) {
  ActivationCost cost;
  absl::Status failure;
  int64_t shorter = 0;
  for (const int64_t length : lengths) {
    const int64_t s = max_length == 0 ? length : std::clamp<int64_t>(max_length / 3, 1, length);
    if (s == shorter) break;
    auto range = FitRange(run, max_length, s, cost.score_bytes_per_cell);
    if (!range.ok()) {
      failure = range.status();
      continue;
    }
    if (!cost.ranges.empty()) range->from_length = std::max(shorter + 1, (3 * shorter + s) / 2);
    cost.ranges.push_back(*range);
    shorter = s;
  }
  if (!cost.ranges.empty()) return cost;
  // It may take less than the graph told.
  auto shortest = FitRange(run, max_length, 1, cost.score_bytes_per_cell);
  if (!shortest.ok()) return failure;
  cost.ranges.push_back(*shortest);
  return cost;
}

absl::StatusOr<ActivationCost> FitActivationCostOfFixedSize(
    const std::function<absl::StatusOr<MeasuredRun>(int64_t batch)>& run, int64_t length) {
  constexpr int64_t kSequences = 8;
  const auto one = run(1);
  if (!one.ok()) return one.status();
  const auto several = run(kSequences);
  if (!several.ok()) return several.status();
  ActivationCost cost;
  cost.score_bytes_per_cell = std::max(one->score_bytes_per_cell, several->score_bytes_per_cell);
  cost.ranges.push_back(
      {.from_length = 1,
       .forward = FitFixedSize(one->forward_bytes, several->forward_bytes, kSequences, length),
       .attention = FitFixedSize(one->attention_bytes, several->attention_bytes, kSequences, length)});
  return cost;
}

}  // namespace attribution::capture
