// The sections of the report, each printed to standard output when it is measured.
//
// Not thread-safe. Errors are exceptions; a figure that this machine cannot give is printed as "not shown"
// with the reason.
#ifndef TESTS_BENCHMARK_SECTIONS_H_
#define TESTS_BENCHMARK_SECTIONS_H_

#include "tests/benchmark/arguments.h"

namespace attribution::benchmark {

// Time and memory of attribution against the plain forward pass of the same file, whole and cut.
void CompareWithForward(const Arguments& arguments);

// Time against Hugging Face's eager model that keeps every layer, and whether the answers agree.
void CompareWithNaive(const Arguments& arguments);

// Bytes of one request, the whole batch in one chunk: counted, and as the process's high-water mark.
void MeasureMemory(const Arguments& arguments);

// Time of attribution of a causal model with and without what its mask hides, beside the plain forward pass.
void CompareCausal(const Arguments& arguments);

// Time and memory at several lengths, and the exponents of their growth.
void MeasureGrowth(const Arguments& arguments);

// Time and resident memory of the engine under several allocators.
void CompareAllocators(const Arguments& arguments);

// Time and memory of the last row of the rollout alone against the whole matrix, and whether they agree.
void CompareRows(const Arguments& arguments);

// What admission predicts of mixed requests beside what they take, for every model that takes tokens if the
// model is `all`. The first shape is the largest; a round is a request.
void MeasureEstimates(const Arguments& arguments);

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_SECTIONS_H_
