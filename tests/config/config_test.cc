#include "server/config.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/config_settings.h"

namespace attribution::config {
namespace {

using ::testing::HasSubstr;

Environment Variables(const std::map<std::string, std::string>& variables) {
  return [variables](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
}

// Reads a command line with a repository named, in an environment of `variables`.
absl::StatusOr<Command> Read(std::vector<std::string> arguments,
                             const std::map<std::string, std::string>& variables = {}) {
  arguments.insert(arguments.begin(), {"--model-repository", "models"});
  return ReadCommandLine(arguments, Variables(variables));
}

class ConfigTest : public testing::Test {
 protected:
  ConfigTest() {
    std::string name = (std::filesystem::temp_directory_path() / "config-test-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~ConfigTest() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& text) {
    const std::string path = (folder_ / "server.yaml").string();
    std::ofstream(path) << text;
    return path;
  }

  std::filesystem::path folder_;
};

TEST_F(ConfigTest, DefaultsAreThoseOfTheDocumentation) {
  const auto command = Read({});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->action, Command::Action::kServe);
  const ServerConfig& config = command->config;
  EXPECT_EQ(config.model_repository, "models");
  EXPECT_EQ(config.listen, "127.0.0.1:8500");
  EXPECT_EQ(config.metrics_listen, "127.0.0.1:9464");
  EXPECT_EQ(config.queue_limit, 256);
  EXPECT_EQ(config.queue_bytes, 268435456);
  EXPECT_EQ(config.queue_timeout, absl::Seconds(30));
  EXPECT_EQ(config.max_message_bytes, 67108864);
  EXPECT_EQ(config.max_sequences, 4096);
  EXPECT_EQ(config.max_streams, 1024);
  EXPECT_EQ(config.write_stall_timeout, absl::Seconds(60));
  EXPECT_TRUE(config.share_chunks);
  EXPECT_FALSE(config.log_text);
}

TEST_F(ConfigTest, FlagsOverrideEnvironmentOverridesFileOverridesDefaults) {
  const std::string file = Write("queue_limit: 1\nworkers: 1\nmax_streams: 1\n");
  const auto command = Read({"--config", file, "--queue-limit=3"},
                            {{"ATTRIBUTION_QUEUE_LIMIT", "2"}, {"ATTRIBUTION_WORKERS", "2"}});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->config.queue_limit, 3);
  EXPECT_EQ(command->config.workers, 2);
  EXPECT_EQ(command->config.max_streams, 1);
  EXPECT_EQ(command->config.max_sequences, 4096);
}

TEST_F(ConfigTest, ValuesCarryUnits) {
  const auto command =
      Read({"--memory-budget", "2GiB", "--queue-timeout=500ms", "--max-message-bytes", "1MB"});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->config.memory_budget_bytes, 2147483648);
  EXPECT_EQ(command->config.queue_timeout, absl::Milliseconds(500));
  EXPECT_EQ(command->config.max_message_bytes, 1000000);
}

TEST_F(ConfigTest, AnEmptyVariableIsNotSet) {
  const auto command = Read({}, {{"ATTRIBUTION_QUEUE_LIMIT", ""}});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->config.queue_limit, 256);
}

TEST_F(ConfigTest, AnUnknownFlagNamesTheNearest) {
  const auto command = Read({"--memry-budget=2GiB"});
  EXPECT_EQ(command.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(command.status().message()),
              HasSubstr("Unknown argument --memry-budget. Did you mean --memory-budget?"));
}

TEST_F(ConfigTest, AnUnknownKeyNamesTheNearest) {
  const auto config = ReadYaml("queue_limits: 3\n", "server.yaml");
  EXPECT_EQ(config.status().message(),
            "server.yaml: Unknown key \"queue_limits\". Did you mean queue_limit?");
}

TEST_F(ConfigTest, ABadValueNamesItsSource) {
  EXPECT_THAT(std::string(Read({"--workers=x"}).status().message()), HasSubstr("--workers: \"x\""));
  EXPECT_THAT(std::string(Read({}, {{"ATTRIBUTION_WORKERS", "x"}}).status().message()),
              HasSubstr("ATTRIBUTION_WORKERS: \"x\""));
  EXPECT_THAT(std::string(ReadYaml("workers: x", "server.yaml").status().message()),
              HasSubstr("server.yaml: workers: \"x\""));
}

TEST_F(ConfigTest, RefusesValuesOutOfRange) {
  for (const char* flag :
       {"--workers=-1", "--queue-limit=-1", "--max-message-bytes=3GiB", "--max-sequences=0", "--listen=8500",
        "--listen=", "--metrics-listen=localhost:99999", "--device=tpu", "--device=cuda:0,auto",
        "--device=cuda:0,", "--chunk-policy=x", "--log-format=x", "--memory-budget=0",
        "--write-stall-timeout=0", "--share-chunks=1", "--log-text="}) {
    EXPECT_EQ(Read({flag}).status().code(), absl::StatusCode::kInvalidArgument) << flag;
  }
}

TEST_F(ConfigTest, RefusesFilesThatAreNoConfiguration) {
  for (const char* text :
       {"- a\n- b\n", "workers: [1, 2]\n", "workers: 1\nworkers: 2\n", "a: b: c\n", "just text\n"}) {
    EXPECT_EQ(ReadYaml(text, "f").status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST_F(ConfigTest, AnEmptyFileMeansDefaults) {
  EXPECT_EQ(ToYaml(*ReadYaml("", "f")), ToYaml(ServerConfig{}));
}

TEST_F(ConfigTest, AMissingFileIsAnError) {
  const auto command = Read({"--config", (folder_ / "none.yaml").string()});
  EXPECT_THAT(std::string(command.status().message()), HasSubstr("cannot be read"));
}

TEST_F(ConfigTest, TlsFilesGoTogether) {
  for (const char* flag : {"--tls-cert=a", "--tls-key=a"})
    EXPECT_THAT(std::string(Read({flag}).status().message()), HasSubstr("go together")) << flag;
  EXPECT_THAT(std::string(Read({"--tls-client-ca=a"}).status().message()), HasSubstr("needs TLS"));
  EXPECT_FALSE(ReadCommandLine({"--check-config", Write("tls_cert: a\n")}, Variables({})).ok());
  EXPECT_TRUE(Read({"--tls-cert=a", "--tls-key=b", "--tls-client-ca=c"}).ok());
}

TEST_F(ConfigTest, ARepositoryIsRequiredToServeOnly) {
  EXPECT_THAT(std::string(ReadCommandLine({}, Variables({})).status().message()),
              HasSubstr("--model-repository"));
  EXPECT_TRUE(ReadCommandLine({"--print-config"}, Variables({})).ok());
  EXPECT_TRUE(ReadCommandLine({"--help"}, Variables({})).ok());
  EXPECT_TRUE(ReadCommandLine({"--check-config", Write("workers: 2\n")}, Variables({})).ok());
}

TEST_F(ConfigTest, CheckConfigRefusesABadFile) {
  EXPECT_FALSE(ReadCommandLine({"--check-config", Write("workes: 2\n")}, Variables({})).ok());
}

TEST_F(ConfigTest, WhatIsPrintedReadsBackTheSame) {
  const auto command = Read({"--print-config",
                             "--listen=[::1]:0",
                             "--admin-listen=127.0.0.1:1",
                             "--health-listen=h:2",
                             "--metrics-listen=127.0.0.1:0",
                             "--device=cuda:1,cuda:0",
                             "--memory-budget=1536MiB",
                             "--workers=3",
                             "--intra-op-threads=5",
                             "--chunk-policy=reference",
                             "--queue-limit=7",
                             "--queue-bytes=1000",
                             "--queue-timeout=1m30s",
                             "--max-message-bytes=3KiB",
                             "--max-sequences=9",
                             "--max-sequence-length=11",
                             "--max-streams=13",
                             "--drain-timeout=250ms",
                             "--write-stall-timeout=1500ms",
                             "--share-chunks=false",
                             "--log-text=true",
                             "--model-memory-budget=3GiB",
                             "--repository-poll-interval=5s",
                             "--max-connection-age=7m",
                             "--tls-cert=a.pem",
                             "--tls-key=b.pem",
                             "--tls-client-ca=c.pem",
                             "--tls-refresh-interval=2s",
                             "--auth-tokens-file=d.yaml",
                             "--auth-refresh-interval=3s",
                             "--log-format=json",
                             "--port-file=a: \"b\"\n#c"});
  ASSERT_TRUE(command.ok()) << command.status();
  const auto again = ReadYaml(command->text, "printed");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(ToYaml(*again), command->text);
  // Every setting above differs from its default, and is there after the round trip.
  for (const Setting& setting : Settings()) {
    EXPECT_NE(setting.write(*again), setting.write(ServerConfig{})) << setting.flag;
    EXPECT_EQ(setting.write(*again), setting.write(command->config)) << setting.flag;
  }
}

TEST_F(ConfigTest, HelpNamesEveryFlag) {
  const auto command = ReadCommandLine({"--help"}, Variables({}));
  ASSERT_TRUE(command.ok());
  for (const Setting& setting : Settings()) EXPECT_THAT(command->text, HasSubstr("--" + setting.flag));
}

}  // namespace
}  // namespace attribution::config
