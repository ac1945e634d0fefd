// attribution-server: wires configuration, logging, metrics, engine and network together, and stops them in
// order.
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "grpc/support/log.h"
#include "server/config.h"
#include "server/engine/engine_factory.h"
#include "server/memory/bound_caches.h"
#include "server/rpc/server.h"
#include "server/telemetry/logging.h"
#include "server/telemetry/metrics.h"
#include "server/telemetry/metrics_http.h"

namespace attribution {
namespace {

constexpr int kCannotServe = 1;
constexpr int kBadConfiguration = 2;

// Least time that calls which the engine has finished have to write their last bytes, also when what was
// admitted took all of the drain time.
constexpr absl::Duration kFlushTime = absl::Seconds(2);

EngineOptions EngineOptionsOf(const config::ServerConfig& config) {
  EngineOptions options;
  options.model_repository = config.model_repository;
  options.device = config.device;
  options.memory_budget_bytes = config.memory_budget_bytes;
  options.model_memory_budget_bytes = config.model_memory_budget_bytes;
  options.repository_poll_interval = config.repository_poll_interval;
  options.workers = config.workers;
  options.intra_op_threads = config.intra_op_threads;
  options.chunk_policy = config.chunk_policy;
  options.queue_limit = config.queue_limit;
  options.queue_bytes = config.queue_bytes;
  options.queue_timeout = config.queue_timeout;
  options.max_sequences = config.max_sequences;
  options.max_sequence_length = config.max_sequence_length;
  options.share_chunks = config.share_chunks;
  options.log_text = config.log_text;
  return options;
}

rpc::ServerOptions ServerOptionsOf(const config::ServerConfig& config) {
  rpc::ServerOptions options;
  options.listen = config.listen;
  options.admin_listen = config.admin_listen;
  options.health_listen = config.health_listen;
  options.max_message_bytes = config.max_message_bytes;
  options.max_streams = config.max_streams;
  options.write_stall_timeout = config.write_stall_timeout;
  options.max_connection_age = config.max_connection_age;
  options.tls = {config.tls_cert, config.tls_key, config.tls_client_ca, config.tls_refresh_interval};
  options.auth_tokens_file = config.auth_tokens_file;
  options.auth_refresh_interval = config.auth_refresh_interval;
  return options;
}

// Signals that stop the server. Blocked in every thread, so that only WaitForStop() sees them.
sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

// Writes what gRPC has to say as lines of our log.
void LogForGrpc(gpr_log_func_args* line) {
  const auto level = line->severity == GPR_LOG_SEVERITY_ERROR  ? telemetry::LogLevel::kWarning
                     : line->severity == GPR_LOG_SEVERITY_INFO ? telemetry::LogLevel::kInfo
                                                               : telemetry::LogLevel::kDebug;
  telemetry::Log(level, "gRPC has a message.", {{"text", line->message}});
}

// Waits for the first signal; from then on a second one ends the process at once.
void WaitForStop() {
  const sigset_t signals = StopSignals();
  int signal = 0;
  sigwait(&signals, &signal);
  std::thread([signals] {
    int second = 0;
    sigwait(&signals, &second);
    _exit(kCannotServe);
  }).detach();
}

// Writes the ports into a file that appears whole.
absl::Status WritePorts(const std::string& path, const rpc::Server& server, int metrics) {
  const std::string unfinished = absl::StrCat(path, ".", getpid());
  std::ofstream file(unfinished);
  file << "{\"listen\": " << server.port() << ", \"metrics\": " << metrics
       << ", \"admin\": " << server.admin_port() << ", \"health\": " << server.health_port() << "}\n";
  file.close();
  if (file && std::rename(unfinished.c_str(), path.c_str()) == 0) return absl::OkStatus();
  std::remove(unfinished.c_str());
  return absl::UnavailableError(absl::StrCat("The port file cannot be written. Check \"", path, "\"."));
}

void LogCannotStart(const absl::Status& status) {
  telemetry::Log(telemetry::LogLevel::kError, "The server cannot start",
                 {{"error", std::string(status.message())}});
}

// Ends the process at once: an engine that loads a model would hold its own end, and the message, up until
// that is done.
[[noreturn]] void ExitWithoutServing(const absl::Status& status) {
  LogCannotStart(status);
  _exit(kCannotServe);
}

absl::Status Serve(const config::ServerConfig& config) {
  telemetry::Metrics metrics({ATTRIBUTION_VERSION, ATTRIBUTION_TORCH_VERSION});
  absl::StatusOr<std::unique_ptr<Engine>> engine = engine::CreateEngine(EngineOptionsOf(config), metrics);
  if (!engine.ok()) return engine.status();
  auto server = rpc::Server::Start(ServerOptionsOf(config), **engine, metrics);
  if (!server.ok()) ExitWithoutServing(server.status());
  const auto metrics_http = telemetry::MetricsHttp::Start(config.metrics_listen, metrics);
  if (!metrics_http.ok()) ExitWithoutServing(metrics_http.status());
  if (!config.port_file.empty()) {
    const absl::Status written = WritePorts(config.port_file, **server, (*metrics_http)->port());
    if (!written.ok()) return written;
  }
  telemetry::Log(
      telemetry::LogLevel::kInfo, "Listening",
      {{"port", (*server)->port()}, {"metrics_port", (*metrics_http)->port()}, {"address", config.listen}});

  WaitForStop();
  telemetry::Log(telemetry::LogLevel::kInfo, "Stopping");
  const absl::Time drain_end = absl::Now() + config.drain_timeout;
  (*server)->StopServing();
  const bool drained = (*engine)->Drain(config.drain_timeout);
  gpr_set_log_function([](gpr_log_func_args*) {});  // it takes our closing of its sockets for failures
  (*server)->Shutdown(std::max(kFlushTime, drain_end - absl::Now()));
  telemetry::Log(telemetry::LogLevel::kInfo, "Stopped", {{"drained", drained ? "yes" : "no"}});
  return absl::OkStatus();
}

int Main(const std::vector<std::string>& arguments) {
  const auto command = config::ReadCommandLine(arguments, config::ProcessEnvironment);
  if (!command.ok()) {
    std::cerr << "attribution-server: " << command.status().message() << "\n";
    return kBadConfiguration;
  }
  if (command->action == config::Command::Action::kPrint) {
    std::cout << command->text << std::flush;
    return std::cout ? 0 : kCannotServe;
  }
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  memory::BoundCaches();
#ifdef ATTRIBUTION_ALLOCATOR
  // TBB, which the tokenizer uses, else loads libraries with RTLD_DEEPBIND: they would free with the C
  // library what the allocator of this process has given out.
  setenv("TBB_ENABLE_SANITIZERS", "1", /*overwrite=*/1);
#endif
  telemetry::SetUpLogging(command->config.json_logs ? telemetry::LogFormat::kJson
                                                    : telemetry::LogFormat::kText);
  gpr_set_log_function(LogForGrpc);
  const absl::Status status = Serve(command->config);
  if (status.ok()) return 0;
  LogCannotStart(status);
  return kCannotServe;
}

}  // namespace
}  // namespace attribution

int main(int argc, char** argv) { return attribution::Main({argv + 1, argv + argc}); }
