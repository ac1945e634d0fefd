// Where the kernel tells its limits, below sys/fs/cgroup:
//
//           version 1                                   version 2
//   CPU     cpu/…/cpu.cfs_quota_us, cpu.cfs_period_us   …/cpu.max: "quota period" or "max period"
//   limit   memory/…/memory.limit_in_bytes              …/memory.max
//   used    memory/…/memory.usage_in_bytes              …/memory.current
//   cache   memory/…/memory.stat total_inactive_file    …/memory.stat inactive_file
//
// /proc/self/cgroup names the group of this process. Inside a container that path may not exist, because its
// own group is mounted as the root; so the path and all above it are tried, and the tightest limit counts.
#include "server/admission/host_resources.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace attribution::admission {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

std::string ReadText(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Words SplitWords(absl::string_view text) {
  return absl::StrSplit(text, absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
}

// The first word of a file as a number; nothing if it is missing, "max" or no number.
std::optional<int64_t> ReadNumber(const fs::path& path) {
  const Words words = SplitWords(ReadText(path));
  int64_t number = 0;
  if (words.empty() || !absl::SimpleAtoi(words[0], &number)) return std::nullopt;
  return number;
}

// The word after `key` at the start of a line: "MemAvailable:  123 kB".
std::optional<std::string> ReadField(const fs::path& path, const std::string& key) {
  const Words lines = absl::StrSplit(ReadText(path), '\n');
  for (const std::string& line : lines) {
    const Words words = SplitWords(line);
    if (words.size() >= 2 && words[0] == key) return words[1];
  }
  return std::nullopt;
}

std::optional<int64_t> ReadNumberField(const fs::path& path, const std::string& key) {
  const std::optional<std::string> text = ReadField(path, key);
  int64_t number = 0;
  if (!text.has_value() || !absl::SimpleAtoi(*text, &number)) return std::nullopt;
  return number;
}

// CPUs in a list such as "0-3,8".
int64_t CountCpus(const std::string& list) {
  int64_t count = 0;
  const Words ranges = absl::StrSplit(list, ',');
  for (const std::string& range : ranges) {
    const Words ends = absl::StrSplit(range, '-');
    int64_t first = 0;
    int64_t last = 0;
    if (absl::SimpleAtoi(ends.front(), &first) && absl::SimpleAtoi(ends.back(), &last))
      count += last - first + 1;
  }
  return count;
}

// CPUs that the scheduler may run this process on.
double AllowedCpus(const fs::path& root) {
  const int64_t count = CountCpus(ReadField(root / "proc/self/status", "Cpus_allowed_list:").value_or(""));
  return count > 0 ? static_cast<double>(count) : std::max(1u, std::thread::hardware_concurrency());
}

// Folders of this process's group and of those above it in the hierarchy at `mount`. `controller` is a name
// in /proc/self/cgroup; empty for version 2.
std::vector<fs::path> GroupFolders(const fs::path& root, const fs::path& mount,
                                   const std::string& controller) {
  std::vector<fs::path> folders = {mount};
  const Words lines = absl::StrSplit(ReadText(root / "proc/self/cgroup"), '\n');
  for (const std::string& line : lines) {
    const Words fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    const Words controllers = absl::StrSplit(fields[1], ',');
    if (std::find(controllers.begin(), controllers.end(), controller) == controllers.end()) continue;
    fs::path folder = mount;
    for (const fs::path& name : fs::path(fields[2]).relative_path()) {
      if (name == "..") return folders;  // outside of what this process sees
      folders.push_back(folder /= name);
    }
  }
  return folders;
}

void LowerCpus(double& cpus, int64_t quota, int64_t period) {
  if (quota > 0 && period > 0)
    cpus = std::min(cpus, static_cast<double>(quota) / static_cast<double>(period));
}

// Lowers `available` to what the limit leaves of what is used and cannot be dropped.
void LowerMemory(int64_t& available, std::optional<int64_t> limit, std::optional<int64_t> used,
                 std::optional<int64_t> droppable) {
  if (!limit.has_value()) return;
  const int64_t held = std::max<int64_t>(used.value_or(0) - droppable.value_or(0), 0);
  available = std::min(available, std::max<int64_t>(*limit - held, 0));
}

}  // namespace

HostResources ReadHostResources(const fs::path& root) {
  const fs::path mount = root / "sys/fs/cgroup";
  double cpus = AllowedCpus(root);
  int64_t memory = kUnlimited;
  if (const auto kibibytes = ReadNumberField(root / "proc/meminfo", "MemAvailable:"))
    memory = *kibibytes * 1024;

  for (const fs::path& folder : GroupFolders(root, mount, "")) {
    const Words words = SplitWords(ReadText(folder / "cpu.max"));
    int64_t quota = 0;
    int64_t period = 0;
    if (words.size() == 2 && absl::SimpleAtoi(words[0], &quota) && absl::SimpleAtoi(words[1], &period)) {
      LowerCpus(cpus, quota, period);
    }
    LowerMemory(memory, ReadNumber(folder / "memory.max"), ReadNumber(folder / "memory.current"),
                ReadNumberField(folder / "memory.stat", "inactive_file"));
  }
  for (const char* name : {"cpu", "cpu,cpuacct"}) {  // the first is usually a link to the second
    for (const fs::path& folder : GroupFolders(root, mount / name, "cpu")) {
      LowerCpus(cpus, ReadNumber(folder / "cpu.cfs_quota_us").value_or(-1),
                ReadNumber(folder / "cpu.cfs_period_us").value_or(0));
    }
  }
  for (const fs::path& folder : GroupFolders(root, mount / "memory", "memory")) {
    LowerMemory(memory, ReadNumber(folder / "memory.limit_in_bytes"),
                ReadNumber(folder / "memory.usage_in_bytes"),
                ReadNumberField(folder / "memory.stat", "total_inactive_file"));
  }
  return {cpus, memory == kUnlimited ? 0 : memory};
}

}  // namespace attribution::admission
