// What is fuzzed: every parser of ours that meets foreign bytes. Each function takes any bytes and returns
// normally; whatever else happens is a finding. Where a result can be held against the input, it is, by
// FUZZ_CHECK.
//
// One function, one folder of tests/fuzz/corpus of the same name. libFuzzer drives them in `make soak`
// (fuzzer_main.cc), replay_test.cc goes through the corpora in `make test`.
#ifndef TESTS_FUZZ_TARGETS_H_
#define TESTS_FUZZ_TARGETS_H_

#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

// Ends the process if `condition` does not hold: a sanitizer or the test runner shows where.
#define FUZZ_CHECK(condition)                                                            \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)

namespace attribution::fuzz {

void FuzzManifest(std::string_view bytes);       // manifest.yaml
void FuzzModelPolicy(std::string_view bytes);    // model.yaml
void FuzzConfiguration(std::string_view bytes);  // the server's YAML file
void FuzzTokens(std::string_view bytes);         // the file of bearer tokens
void FuzzRequest(std::string_view bytes);        // a gRPC message; its first byte chooses the method
void FuzzPageToken(std::string_view bytes);      // page_token of ListModels
void FuzzRollout(std::string_view bytes);        // header and pieces of a Rollout
void FuzzNpy(std::string_view bytes);            // a .npy file

using Target = void (*)(std::string_view bytes);

inline constexpr std::pair<const char*, Target> kTargets[] = {
    {"manifest", FuzzManifest},
    {"model_policy", FuzzModelPolicy},
    {"configuration", FuzzConfiguration},
    {"tokens", FuzzTokens},
    {"request", FuzzRequest},
    {"page_token", FuzzPageToken},
    {"rollout", FuzzRollout},
    {"npy", FuzzNpy},
};

}  // namespace attribution::fuzz

#endif  // TESTS_FUZZ_TARGETS_H_
