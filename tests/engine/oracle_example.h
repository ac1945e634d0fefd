// Examples of the fixtures with their true attention, and what the naive rollout makes of them.
#ifndef TESTS_ENGINE_ORACLE_EXAMPLE_H_
#define TESTS_ENGINE_ORACLE_EXAMPLE_H_

#include <string>
#include <vector>

#include "attribution/engine.h"
#include "tests/oracle/naive_rollout.h"

namespace attribution::engine {

// Sequences of one model and their attention, in float64, computed apart from the bundle.
struct OracleExample {
  std::string model;
  std::vector<TokenSequence> sequences;
  std::vector<oracle::Layer> layers;  // [L][B][H][S][S]
  oracle::Masks masks;                // [B][S]
  std::vector<int64_t> lengths;       // [B]

  // A request for all sequences, with layer metrics and matrices.
  AttributionRequest Request(Preset preset = Preset::kAbnar2020, double residual_weight = 0.5) const;

  // What the request must give.
  oracle::NaiveResult Expected(Preset preset = Preset::kAbnar2020, double residual_weight = 0.5) const;

  // The same with these sequences, in this order; numbers may repeat.
  OracleExample Pick(const std::vector<size_t>& numbers) const;
};

// Loads `.oracle/<model>.pt`: three sequences of 11 positions. The second is padded on the right; `ragged`
// cuts the padding off, so that the server must pad. The third has a gap in its mask.
OracleExample LoadExample(const std::string& model, bool ragged = true);

// Expects all eight values of `got` to be as `want`.
void ExpectNear(const Metrics& got, const Metrics& want, double tolerance);

// Expects the statistics and counts of one layer to be as `want`, whatever its names.
void ExpectNear(const LayerMetrics& got, const LayerMetrics& want, double tolerance);

// Puts the float32 slices of one sequence's rollout together. Expects rows in order, each once.
oracle::Matrix RolloutOf(const std::vector<Event>& events, int32_t sequence);

// Expects result and matrices in `events` to be what `example` must give.
void ExpectAsOracle(const std::vector<Event>& events, const OracleExample& example, Preset preset,
                    double residual_weight, double tolerance);

}  // namespace attribution::engine

#endif  // TESTS_ENGINE_ORACLE_EXAMPLE_H_
