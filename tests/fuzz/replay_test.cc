// Goes through the kept corpora of the fuzzers: every finding stays found.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/fuzz/targets.h"

namespace attribution::fuzz {
namespace {

namespace fs = std::filesystem;

class FuzzReplayTest : public testing::TestWithParam<size_t> {};

TEST_P(FuzzReplayTest, CorpusRunsThrough) {
  const auto& [name, target] = kTargets[GetParam()];
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(fs::path(ATTRIBUTION_FUZZ_CORPUS) / name))
    files.push_back(entry.path());
  ASSERT_GE(files.size(), 2u) << "a corpus of good and of bad input";
  std::sort(files.begin(), files.end());
  for (const fs::path& path : files) {
    SCOPED_TRACE(path.string());
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    const std::string bytes = text.str();
    target(bytes);
    // What is cut short or longer is met, too.
    for (size_t size = 0; size < std::min<size_t>(bytes.size(), 256); ++size) target(bytes.substr(0, size));
    target(bytes + '\0');
  }
}

INSTANTIATE_TEST_SUITE_P(EveryTarget, FuzzReplayTest, testing::Range<size_t>(0, std::size(kTargets)),
                         [](const auto& info) { return std::string(kTargets[info.param].first); });

TEST(FuzzCorpusTest, EveryFolderHasItsTarget) {
  std::set<std::string> folders;
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(ATTRIBUTION_FUZZ_CORPUS))
    folders.insert(entry.path().filename().string());
  for (const auto& [name, target] : kTargets) names.insert(name);
  EXPECT_EQ(folders, names);
}

}  // namespace
}  // namespace attribution::fuzz
