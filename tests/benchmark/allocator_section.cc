#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "tests/benchmark/contenders.h"
#include "tests/benchmark/figures.h"
#include "tests/benchmark/ratios.h"
#include "tests/benchmark/rounds.h"
#include "tests/benchmark/sections.h"

namespace attribution::benchmark {
namespace {

// One tiny request a worker, so that threads and kernels are there.
constexpr Shape kWarmUp = {1, 16};

// Longer than any of the allocators keeps what was freed: jemalloc gives it back in 10 s.
constexpr absl::Duration kIdle = absl::Seconds(15);

// Else the TBB of the tokenizer binds a library of its own to the C library's free().
constexpr char kNoDeepBinding[] = "TBB_ENABLE_SANITIZERS=1";

struct Candidate {
  std::string name;
  std::vector<std::string> environment;
  std::string library;  // that must be mapped; empty: the C library's own allocator
};

const std::vector<Candidate>& Candidates() {
  static const auto* const candidates = new std::vector<Candidate>{
      {"glibc", {"LD_PRELOAD="}, ""},
      {"glibc, A/A control", {"LD_PRELOAD="}, ""},
      {"glibc, 2 arenas", {"LD_PRELOAD=", "MALLOC_ARENA_MAX=2"}, ""},
      {"glibc, mmap from 1 MiB", {"LD_PRELOAD=", "MALLOC_MMAP_THRESHOLD_=1048576"}, ""},
      {"glibc, and huge pages",
       {"LD_PRELOAD=", "MALLOC_MMAP_THRESHOLD_=1048576", "THP_MEM_ALLOC_ENABLE=1"},  // the latter is torch's
       ""},
      {"tcmalloc_minimal", {"LD_PRELOAD=libtcmalloc_minimal.so.4", kNoDeepBinding}, "libtcmalloc_minimal"},
      {"jemalloc", {"LD_PRELOAD=libjemalloc.so.2", kNoDeepBinding}, "libjemalloc"}};
  return *candidates;
}

struct Started {
  const Candidate* candidate;
  std::unique_ptr<ChildContender> contender;
  double warm_bytes = 0;
};

// Starts the candidates that are installed and says which are not.
std::vector<Started> StartAll(const Arguments& arguments) {
  std::vector<Started> all;
  for (const Candidate& candidate : Candidates()) {
    auto contender = StartMixedLoad(arguments, candidate.name, candidate.environment);
    if (!contender->process().HasMapped(candidate.library)) {
      std::cout << candidate.name << " is not shown: it is not installed.\n";
      continue;
    }
    contender->Prepare(kWarmUp, kWarmUps);
    contender->ForgetMostResident();
    const auto warm_bytes = static_cast<double>(contender->Resident().now_bytes);
    all.push_back({&candidate, std::move(contender), warm_bytes});
  }
  return all;
}

}  // namespace

void CompareAllocators(const Arguments& arguments) {
  std::cout
      << "An engine with " << arguments.workers << " workers of " << arguments.threads
      << " threads, requests of random shapes up to the given one, all sent at once.\n"
         "Ratios of time are to glibc in the same round, median [smallest, largest]. High-water, and what "
         "is resident\n"
      << absl::ToInt64Seconds(kIdle)
      << " s after the last request: above the warm resident set. Counted: most bytes alive of one "
         "request.\n";
  const std::vector<Started> all = StartAll(arguments);
  std::vector<Contender*> contenders;
  contenders.reserve(all.size());
  for (const Started& started : all) contenders.push_back(started.contender.get());
  for (const Shape& shape : arguments.shapes) {
    int64_t repetitions = 0;
    const auto measurements = Measure(contenders, shape, arguments.rounds, repetitions);
    absl::SleepFor(kIdle);
    std::cout << absl::StrFormat("up to %-17s  %13s  %-22s  %11s  %11s  %11s\n", ToString(shape),
                                 "time per run", "ratio of time", "counted", "high-water", "resident");
    for (size_t i = 0; i < all.size(); ++i) {
      const ResidentMemory resident = all[i].contender->Resident();
      std::cout << absl::StrFormat("%-23s  %13s  %-22s  %11s  %11s  %11s", all[i].candidate->name,
                                   Milliseconds(measurements[i].seconds),
                                   ToString(RatioOf(measurements[i].seconds, measurements[0].seconds)),
                                   Megabytes(static_cast<double>(measurements[i].memory.peak_bytes)),
                                   Megabytes(static_cast<double>(resident.most_bytes) - all[i].warm_bytes),
                                   Megabytes(static_cast<double>(resident.now_bytes) - all[i].warm_bytes))
                << std::endl;
    }
  }
}

}  // namespace attribution::benchmark
