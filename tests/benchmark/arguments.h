// Arguments reads the command line of attribution-bench.
//
// Plain values and pure functions; any thread.
#ifndef TESTS_BENCHMARK_ARGUMENTS_H_
#define TESTS_BENCHMARK_ARGUMENTS_H_

#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/benchmark/workload.h"

namespace attribution::benchmark {

struct Arguments {
  std::string
      section;  // `forward`, `naive`, `memory`, `growth`, `allocator`, `rows`, `estimate`; or `contender`
  std::string repository;  // model repository
  std::string model = "minilm";
  std::string plain_repository;  // where the model is whose plain forward stands beside; empty: `repository`
  std::string folder;            // Hugging Face folder that `model` was exported from
  std::string server;            // host:port
  std::string contender;         // which one this process is
  std::vector<Shape> shapes;
  int rounds = 9;
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  int workers = 1;
};

extern const char kUsage[];

// `16x256,8x512`, none of it 0. Returns nothing if it is something else.
std::optional<std::vector<Shape>> ParseShapes(const std::string& text);

// Returns nothing if the words are no command line of this program.
std::optional<Arguments> ParseArguments(const std::vector<std::string>& words);

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_ARGUMENTS_H_
