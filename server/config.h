// The configuration of attribution-server: one validated struct, filled from defaults, a YAML file, the
// environment and flags, each overriding the one before. A setting has one name: --queue-limit, queue_limit:
// and ATTRIBUTION_QUEUE_LIMIT are the same. docs/configuration.md lists all.
//
// Free functions without state.
#ifndef SERVER_CONFIG_H_
#define SERVER_CONFIG_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "attribution/options.h"

namespace attribution::config {

// Every value is in range and every combination is one that the server can do.
struct ServerConfig {
  std::string model_repository;
  std::string listen = "127.0.0.1:8500";
  std::string admin_listen;  // empty: ModelService on `listen` alone
  std::string metrics_listen = "127.0.0.1:9464";
  std::string health_listen;  // empty: off
  std::string device = "auto";
  int64_t memory_budget_bytes = 0;                                 // 0: 80 % of what is free after loading
  int64_t model_memory_budget_bytes = 0;                           // 0: none
  absl::Duration repository_poll_interval = absl::ZeroDuration();  // zero: never
  int32_t workers = 0;                                             // 0: one, which uses the whole CPU quota
  int32_t intra_op_threads = 0;                                    // 0: the CPU quota divided by the workers
  bool share_chunks = true;
  ChunkPolicy chunk_policy = ChunkPolicy::kAdaptive;
  int32_t queue_limit = 256;
  int64_t queue_bytes = 256ll << 20;
  absl::Duration queue_timeout = absl::Seconds(30);
  int64_t max_message_bytes = 64ll << 20;
  int32_t max_sequences = 4096;
  int64_t max_sequence_length = 0;  // 0: the model's own
  int32_t max_streams = 1024;       // a connection
  std::string tls_cert;             // empty: no TLS
  std::string tls_key;
  std::string tls_client_ca;  // empty: clients need no certificate
  absl::Duration tls_refresh_interval = absl::Minutes(1);
  std::string auth_tokens_file;  // empty: clients need no token
  absl::Duration auth_refresh_interval = absl::Seconds(10);
  absl::Duration max_connection_age = absl::Minutes(30);  // zero: never
  absl::Duration drain_timeout = absl::Seconds(30);
  absl::Duration write_stall_timeout = absl::Seconds(60);
  bool json_logs = false;
  bool log_text = false;
  std::string port_file;  // empty: none
};

// What the command line asks for.
struct Command {
  enum class Action {
    kServe,  // run with `config`
    kPrint,  // write `text` to standard output and exit 0: --help, --print-config, --check-config
  };
  Action action = Action::kServe;
  ServerConfig config;
  std::string text;
};

// Looks up an environment variable; nothing when it is not set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// Environment of this process.
std::optional<std::string> ProcessEnvironment(const std::string& name);

// Reads the command line (without the program's name), the environment and the file of --config.
// INVALID_ARGUMENT, naming the setting and where it came from, for what is unknown, out of range or not built
// yet.
absl::StatusOr<Command> ReadCommandLine(const std::vector<std::string>& arguments,
                                        const Environment& environment);

// Reads YAML text alone over the defaults. `source` names it in errors. Needs no model_repository.
absl::StatusOr<ServerConfig> ReadYaml(const std::string& text, const std::string& source);

// YAML that ReadYaml() reads back to the same configuration.
std::string ToYaml(const ServerConfig& config);

}  // namespace attribution::config

#endif  // SERVER_CONFIG_H_
