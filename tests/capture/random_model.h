// Random small models for fuzzing the graph rewrite: source of TorchScript and, beside it, of the truth.
#ifndef TESTS_CAPTURE_RANDOM_MODEL_H_
#define TESTS_CAPTURE_RANDOM_MODEL_H_

#include <cstdint>
#include <string>

namespace attribution::capture {

struct RandomModel {
  // Two methods of (input_ids, attention_mask): `forward`, and `oracle`, which computes the same in float64,
  // every attention by its definition, and returns List[Tensor]: the probabilities [B, H, S, S] of each
  // self-attention that ran and that something reads.
  std::string source;
  bool depends_on_input = false;  // another length may run other layers
};

// One to four attentions, fused and written out in several ways, with heads apart, folded into the batch or
// none; masks of several forms; in branches and loops; side by side; dead, cross, with a prefix; gates and
// classifiers between them. Deterministic in `seed`; at least one self-attention is alive and always runs.
RandomModel MakeRandomModel(uint64_t seed);

}  // namespace attribution::capture

#endif  // TESTS_CAPTURE_RANDOM_MODEL_H_
