// The shapes of the requests of a load test, and what of it is left to chance, reproducibly.
//
// Not thread-safe.
#ifndef ATTRIBUTION_CLIENT_CLI_LOAD_SHAPES_H_
#define ATTRIBUTION_CLIENT_CLI_LOAD_SHAPES_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "attribution/request.h"

namespace attribution::cli {

struct LoadShape {
  int32_t batch = 1;   // sequences
  int32_t length = 1;  // tokens of each
  double weight = 1;   // how often, beside the others

  // `8x128`.
  std::string Name() const;
};

// Reads `1x16,8x128:2`: batch x length, and after a colon the weight. Usage error otherwise.
absl::StatusOr<std::vector<LoadShape>> ReadShapes(const std::string& text);

// What the same seed makes the same.
class LoadChance {
 public:
  explicit LoadChance(uint64_t seed) : random_(seed) {}

  // Index of a shape, as often as its weight says. REQUIRES: some shape.
  size_t Shape(const std::vector<LoadShape>& shapes);

  // Sequences of the shape, of ids in [0, vocabulary).
  TokenBatch Tokens(const LoadShape& shape, int64_t vocabulary);

  // The time until the next arrival, where `rate` arrive a second on average, each independent of the others.
  absl::Duration Gap(double rate);

 private:
  std::mt19937_64 random_;
};

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_LOAD_SHAPES_H_
