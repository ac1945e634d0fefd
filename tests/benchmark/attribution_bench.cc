// attribution-bench measures one section of the report of docs/performance.md.
//
// A program of its own rather than Google Benchmark, which runs one function many times before the next: here
// every round gives each contender one turn, so that a machine that is slow for a while is slow for all of
// them, and a second process of one of them in each round (the A/A control) shows how far two equal things
// differ. Each contender computes in a process of its own; contenders.h has the reason.
#include <csignal>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "tests/benchmark/arguments.h"
#include "tests/benchmark/contenders.h"
#include "tests/benchmark/sections.h"

namespace attribution::benchmark {
namespace {

const std::map<std::string, std::function<void(const Arguments&)>>& Sections() {
  static const auto* const sections = new std::map<std::string, std::function<void(const Arguments&)>>{
      {"contender", BeContender}, {"forward", CompareWithForward}, {"naive", CompareWithNaive},
      {"memory", MeasureMemory},  {"growth", MeasureGrowth},       {"allocator", CompareAllocators},
      {"rows", CompareRows},      {"causal", CompareCausal},       {"estimate", MeasureEstimates}};
  return *sections;
}

}  // namespace

// Returns the exit status.
int Main(const std::vector<std::string>& words) {
  if (words == std::vector<std::string>{"--help"}) {
    std::cout << kUsage;
    return EXIT_SUCCESS;
  }
  const auto arguments = ParseArguments(words);
  if (!arguments || Sections().count(arguments->section) == 0) {
    std::cerr << kUsage;
    return 2;
  }
  std::signal(SIGPIPE, SIG_IGN);  // a process that is gone is an error with a sentence, not a signal
  try {
    Sections().at(arguments->section)(*arguments);
  } catch (const std::exception& error) {
    std::cerr << "attribution-bench: " << error.what() << std::endl;
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}

}  // namespace attribution::benchmark

int main(int argc, char** argv) { return attribution::benchmark::Main({argv + 1, argv + argc}); }
