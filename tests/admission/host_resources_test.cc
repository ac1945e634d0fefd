#include "server/admission/host_resources.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace attribution::admission {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

// A machine of files: eight CPUs, 4 GiB available.
class HostResourcesTest : public ::testing::Test {
 protected:
  HostResourcesTest() {
    std::string name = (std::filesystem::temp_directory_path() / "host_resources_XXXXXX").string();
    root_ = mkdtemp(name.data());
    Write("proc/meminfo", "MemTotal:       16777216 kB\nMemFree:  1024 kB\nMemAvailable:    4194304 kB\n");
    Write("proc/self/status", "Name:\tserver\nCpus_allowed:\tff\nCpus_allowed_list:\t0-3,8-10,12\n");
  }
  ~HostResourcesTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  HostResources Read() const { return ReadHostResources(root_); }

  std::filesystem::path root_;
};

TEST_F(HostResourcesTest, WithoutCgroupsTheMachineIsTheLimit) {
  EXPECT_EQ(Read().cpus, 8);
  EXPECT_EQ(Read().memory_available_bytes, 4096 * kMiB);
}

TEST_F(HostResourcesTest, Version2LimitsBoth) {
  Write("sys/fs/cgroup/cpu.max", "250000 100000\n");
  Write("sys/fs/cgroup/memory.max", "1073741824\n");
  Write("sys/fs/cgroup/memory.current", "268435456\n");
  EXPECT_EQ(Read().cpus, 2.5);
  EXPECT_EQ(Read().memory_available_bytes, 768 * kMiB);
}

TEST_F(HostResourcesTest, Version2MaxIsNoLimit) {
  Write("sys/fs/cgroup/cpu.max", "max 100000\n");
  Write("sys/fs/cgroup/memory.max", "max\n");
  Write("sys/fs/cgroup/memory.current", "268435456\n");
  EXPECT_EQ(Read().cpus, 8);
  EXPECT_EQ(Read().memory_available_bytes, 4096 * kMiB);
}

TEST_F(HostResourcesTest, Version2LooksAtTheOwnGroupAndThoseAbove) {
  Write("proc/self/cgroup", "0::/pods/server\n");
  Write("sys/fs/cgroup/pods/cpu.max", "300000 100000\n");
  Write("sys/fs/cgroup/pods/server/cpu.max", "400000 100000\n");
  Write("sys/fs/cgroup/pods/memory.max", "2147483648\n");
  Write("sys/fs/cgroup/pods/server/memory.max", "1073741824\n");
  EXPECT_EQ(Read().cpus, 3);
  EXPECT_EQ(Read().memory_available_bytes, 1024 * kMiB);
}

TEST_F(HostResourcesTest, AGroupThatIsNotMountedLeavesTheRoot) {
  Write("proc/self/cgroup", "0::/../elsewhere\n");
  Write("sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_EQ(Read().cpus, 2);
}

TEST_F(HostResourcesTest, OtherGroupsDoNotMatter) {
  Write("proc/self/cgroup", "0::/server\n");
  Write("sys/fs/cgroup/other/cpu.max", "100000 100000\n");
  EXPECT_EQ(Read().cpus, 8);
}

TEST_F(HostResourcesTest, PageCacheThatCanBeDroppedIsAvailable) {
  Write("sys/fs/cgroup/memory.max", "1073741824\n");
  Write("sys/fs/cgroup/memory.current", "1073741824\n");
  Write("sys/fs/cgroup/memory.stat", "anon 1000\ninactive_file 536870912\nactive_file 5\n");
  EXPECT_EQ(Read().memory_available_bytes, 512 * kMiB);
}

TEST_F(HostResourcesTest, UsageAboveTheLimitLeavesNothing) {
  Write("sys/fs/cgroup/memory.max", "1000\n");
  Write("sys/fs/cgroup/memory.current", "2000\n");
  EXPECT_EQ(Read().memory_available_bytes, 0);
}

TEST_F(HostResourcesTest, Version1LimitsBoth) {
  Write("proc/self/cgroup", "9:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n");
  Write("sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us", "150000\n");
  Write("sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us", "100000\n");
  Write("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "1073741824\n");
  Write("sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "805306368\n");
  Write("sys/fs/cgroup/memory/docker/abc/memory.stat", "cache 9\ntotal_inactive_file 268435456\n");
  EXPECT_EQ(Read().cpus, 1.5);
  EXPECT_EQ(Read().memory_available_bytes, 512 * kMiB);
}

TEST_F(HostResourcesTest, Version1InAContainerIsAtTheRootOfItsMount) {
  Write("proc/self/cgroup", "4:cpu,cpuacct:/docker/abc\n");
  Write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n");
  Write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Read().cpus, 0.5);
}

TEST_F(HostResourcesTest, Version1WithoutLimit) {
  Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  Write("sys/fs/cgroup/memory/memory.usage_in_bytes", "1000\n");
  EXPECT_EQ(Read().cpus, 8);
  EXPECT_EQ(Read().memory_available_bytes, 4096 * kMiB);
}

TEST_F(HostResourcesTest, NonsenseLimitsNothing) {
  Write("proc/self/cgroup", "nonsense\n0:\n");
  Write("sys/fs/cgroup/cpu.max", "0 0\n");
  Write("sys/fs/cgroup/memory.max", "plenty\n");
  EXPECT_EQ(Read().cpus, 8);
  EXPECT_EQ(Read().memory_available_bytes, 4096 * kMiB);
}

TEST_F(HostResourcesTest, UnknownMemoryIsZeroAndCpusAreAtLeastOne) {
  std::filesystem::remove_all(root_ / "proc");
  EXPECT_GE(Read().cpus, 1);
  EXPECT_EQ(Read().memory_available_bytes, 0);
}

TEST_F(HostResourcesTest, ThisMachineHasSomeOfBoth) {
  const HostResources resources = ReadHostResources();
  EXPECT_GT(resources.cpus, 0);
  EXPECT_GT(resources.memory_available_bytes, 0);
}

}  // namespace
}  // namespace attribution::admission
