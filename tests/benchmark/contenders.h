// Starts the contenders, each in a process of its own, and is one of them in such a process.
//
// Two teams of OpenMP threads in one process are more threads than it has cores; libgomp then puts threads to
// sleep that would have waited awake, and waking them makes whoever runs many small parallel regions look
// slow. Contenders in C++ run under the allocator of attribution-server, so that a ratio between them tells
// nothing about allocators. Not thread-safe. Errors are exceptions.
#ifndef TESTS_BENCHMARK_CONTENDERS_H_
#define TESTS_BENCHMARK_CONTENDERS_H_

#include <memory>
#include <string>
#include <vector>

#include "tests/benchmark/arguments.h"
#include "tests/benchmark/child_protocol.h"

namespace attribution::benchmark {

// An engine, which tells the model.
std::unique_ptr<ChildContender> StartEngine(const Arguments& arguments);

// The engine asked for the rollout without its metrics: its last row, or all of them.
std::unique_ptr<ChildContender> StartLastRow(const Arguments& arguments);
std::unique_ptr<ChildContender> StartEveryRow(const Arguments& arguments);

// The plain forward pass of `model`, whole, and as far as attribution needs it.
std::unique_ptr<ChildContender> StartPlain(const Arguments& arguments, const ModelFacts& model);
std::unique_ptr<ChildContender> StartCut(const Arguments& arguments, const ModelFacts& model);

// Capture and rollout of `model` without the rest of an engine; see FoldedForward.
std::unique_ptr<ChildContender> StartFolded(const Arguments& arguments, const ModelFacts& model,
                                            bool whole_rows);

// naive_contender.py on arguments.folder, under the allocator of the C library as Python programs are.
std::unique_ptr<ChildContender> StartNaive(const Arguments& arguments, const ModelFacts& model);

// A MixedLoad with these environment variables, under the C library's allocator unless they say otherwise.
std::unique_ptr<ChildContender> StartMixedLoad(const Arguments& arguments, const std::string& name,
                                               const std::vector<std::string>& environment);

// Is the contender that arguments.contender names, until standard input ends.
void BeContender(const Arguments& arguments);

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_CONTENDERS_H_
