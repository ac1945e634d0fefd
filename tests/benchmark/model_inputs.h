// The workload as tensors, for contenders that call a model themselves.
//
// Pure function; any thread.
#ifndef TESTS_BENCHMARK_MODEL_INPUTS_H_
#define TESTS_BENCHMARK_MODEL_INPUTS_H_

#include <ATen/core/Tensor.h>

#include <vector>

#include "tests/benchmark/workload.h"

namespace attribution::benchmark {

// The inputs of `forward` in its order, [B, S] int64 each: every position valid, token types 0. Throws for an
// input that is something else.
std::vector<at::Tensor> ModelInputsOf(const Shape& shape, const ModelFacts& model);

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_MODEL_INPUTS_H_
