#include "server/config_settings.h"

#include <cstdint>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "server/config_values.h"

namespace attribution::config {
namespace {

constexpr int32_t kMaxInt = std::numeric_limits<int32_t>::max();

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// The makers below cover one kind of value each. `Member` is the field of ServerConfig.

template <typename Member>
Setting Text(const char* flag, const char* value, const char* help, Member member) {
  return {flag, value, help,
          [member](std::string_view text, ServerConfig* config) {
            config->*member = std::string(text);
            return absl::OkStatus();
          },
          [member](const ServerConfig& config) { return config.*member; }};
}

// HOST:PORT, or [HOST]:PORT for IPv6; empty too where `may_be_empty`.
template <typename Member>
Setting Address(const char* flag, const char* help, Member member, bool may_be_empty) {
  return {flag, "HOST:PORT", help,
          [member, may_be_empty](std::string_view text, ServerConfig* config) -> absl::Status {
            const size_t colon = text.rfind(':');
            int32_t port = -1;
            const bool is_address = colon != std::string_view::npos && colon > 0 &&
                                    absl::SimpleAtoi(View(text.substr(colon + 1)), &port) && port >= 0 &&
                                    port <= 65535;
            if (!is_address && !(may_be_empty && text.empty())) {
              return absl::InvalidArgumentError(absl::StrCat(
                  "\"", View(text),
                  "\" is not an address. Write HOST:PORT, such as 127.0.0.1:8500; port 0 takes a free one."));
            }
            config->*member = std::string(text);
            return absl::OkStatus();
          },
          [member](const ServerConfig& config) { return config.*member; }};
}

// A whole number; `word`, if not empty, stands for 0.
template <typename Member>
Setting Integer(const char* flag, const char* help, Member member, int64_t low, int64_t high,
                const std::string& word = "") {
  return {flag, "N", help,
          [=](std::string_view text, ServerConfig* config) -> absl::Status {
            if (!word.empty() && text == word) {
              config->*member = 0;
              return absl::OkStatus();
            }
            const absl::StatusOr<int64_t> number = ParseInteger(text, low, high);
            if (number.ok()) config->*member = *number;
            return number.status();
          },
          [=](const ServerConfig& config) {
            return config.*member == 0 && !word.empty() ? word : absl::StrCat(config.*member);
          }};
}

// Bytes; `word`, if not empty, stands for 0.
Setting Size(const char* flag, const char* help, int64_t ServerConfig::* member, int64_t low, int64_t high,
             const std::string& word = "") {
  return {flag, "SIZE", help,
          [=](std::string_view text, ServerConfig* config) -> absl::Status {
            if (!word.empty() && text == word) {
              config->*member = 0;
              return absl::OkStatus();
            }
            const absl::StatusOr<int64_t> bytes = ParseSize(text);
            if (!bytes.ok()) return bytes.status();
            if (*bytes < low || *bytes > high) {
              return absl::InvalidArgumentError(absl::StrCat("\"", View(text),
                                                             "\" is out of range. Give a size from ",
                                                             FormatSize(low), " to ", FormatSize(high), "."));
            }
            config->*member = *bytes;
            return absl::OkStatus();
          },
          [=](const ServerConfig& config) {
            return config.*member == 0 && !word.empty() ? word : FormatSize(config.*member);
          }};
}

Setting Duration(const char* flag, const char* help, absl::Duration ServerConfig::* member,
                 absl::Duration low = absl::ZeroDuration()) {
  return {flag, "DURATION", help,
          [=](std::string_view text, ServerConfig* config) -> absl::Status {
            const absl::StatusOr<absl::Duration> duration = ParseDuration(text);
            if (!duration.ok()) return duration.status();
            if (*duration < low) {
              return absl::InvalidArgumentError(absl::StrCat("\"", View(text),
                                                             "\" is too short. Give a duration of at least ",
                                                             absl::FormatDuration(low), "."));
            }
            config->*member = *duration;
            return absl::OkStatus();
          },
          [=](const ServerConfig& config) { return absl::FormatDuration(config.*member); }};
}

Setting Switch(const char* flag, const char* help, bool ServerConfig::* member) {
  return {flag, "BOOL", help,
          [=](std::string_view text, ServerConfig* config) -> absl::Status {
            if (text != "true" && text != "false") {
              return absl::InvalidArgumentError(
                  absl::StrCat("\"", View(text), "\" is neither true nor false. Write one of them."));
            }
            config->*member = text == "true";
            return absl::OkStatus();
          },
          [=](const ServerConfig& config) { return config.*member ? "true" : "false"; }};
}

bool IsDevice(std::string_view text) {
  int32_t index = 0;
  return text == "cpu" || text == "cuda" ||
         (text.substr(0, 5) == "cuda:" && absl::SimpleAtoi(View(text.substr(5)), &index) && index >= 0);
}

absl::Status ReadDevice(std::string_view text, ServerConfig* config) {
  for (const absl::string_view part : absl::StrSplit(View(text), ',')) {
    const absl::string_view name = absl::StripAsciiWhitespace(part);
    if (text == "auto" || IsDevice({name.data(), name.size()})) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", name,
        "\" is not a device. Write auto, cpu, cuda or cuda:1, or several of these but auto by commas."));
  }
  config->device = std::string(text);
  return absl::OkStatus();
}

absl::Status ReadChunkPolicy(std::string_view text, ServerConfig* config) {
  if (text != "adaptive" && text != "reference") {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", View(text), "\" is not a chunk policy. Write adaptive or reference."));
  }
  config->chunk_policy = text == "adaptive" ? ChunkPolicy::kAdaptive : ChunkPolicy::kReference;
  return absl::OkStatus();
}

absl::Status ReadLogFormat(std::string_view text, ServerConfig* config) {
  if (text != "text" && text != "json") {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", View(text), "\" is not a log format. Write text or json."));
  }
  config->json_logs = text == "json";
  return absl::OkStatus();
}

std::vector<Setting> MakeSettings() {
  using C = ServerConfig;
  return {
      Text("model-repository", "DIR", "Folder of model bundles. Required to serve.", &C::model_repository),
      Address("listen", "Address of the service.", &C::listen, false),
      Address("admin-listen", "Second address with ModelService alone. Empty: none.", &C::admin_listen, true),
      Address("metrics-listen", "Address of the Prometheus metrics, plain HTTP.", &C::metrics_listen, false),
      Address("health-listen", "Second address with Health alone, plain text, for probes. Empty: none.",
              &C::health_listen, true),
      {"device", "DEVICE", "auto, cpu, cuda or cuda:1; several by commas.", ReadDevice,
       [](const C& config) { return config.device; }},
      Size("memory-budget",
           "Memory of requests, without the models. auto: 80 % of what is free after loading.",
           &C::memory_budget_bytes, 1, std::numeric_limits<int64_t>::max(), "auto"),
      Size("model-memory-budget",
           "Memory of resident models; the least recently used gives way. none: no bound of its own.",
           &C::model_memory_budget_bytes, 1, std::numeric_limits<int64_t>::max(), "none"),
      Duration("repository-poll-interval",
               "How often the repository is looked at for what is new, changed or gone. 0: only when asked "
               "to load.",
               &C::repository_poll_interval),
      Integer("workers", "Chunks that run at once. auto: 1, which uses the whole CPU quota.", &C::workers, 0,
              1024, "auto"),
      Integer("intra-op-threads", "Threads of one worker. auto: the CPU quota divided by the workers.",
              &C::intra_op_threads, 0, 1024, "auto"),
      Switch("share-chunks", "Whether small requests that wait for the same model may run as one.",
             &C::share_chunks),
      {"chunk-policy", "POLICY", "How batches are cut into chunks: adaptive or reference.", ReadChunkPolicy,
       [](const C& config) {
         return config.chunk_policy == ChunkPolicy::kAdaptive ? "adaptive" : "reference";
       }},
      Integer("queue-limit", "Requests that may wait for memory.", &C::queue_limit, 0, kMaxInt),
      Size("queue-bytes", "Bytes of the requests that may wait.", &C::queue_bytes, 0,
           std::numeric_limits<int64_t>::max()),
      Duration("queue-timeout", "Longest wait for memory.", &C::queue_timeout),
      Size("max-message-bytes", "Largest request message.", &C::max_message_bytes, 1024, kMaxInt),
      Integer("max-sequences", "Most sequences in a request.", &C::max_sequences, 1, kMaxInt),
      Integer("max-sequence-length", "Longest sequence, tokens. model: the model's own limit.",
              &C::max_sequence_length, 0, kMaxInt, "model"),
      Integer("max-streams", "Most requests at once on one connection.", &C::max_streams, 1, kMaxInt),
      Duration(
          "max-connection-age",
          "After how long, give or take a tenth, a connection is closed once its calls are done. 0: never.",
          &C::max_connection_age),
      Text("tls-cert", "FILE", "Certificate of the server, PEM. Empty: no TLS.", &C::tls_cert),
      Text("tls-key", "FILE", "Key of the certificate, PEM.", &C::tls_key),
      Text("tls-client-ca", "FILE",
           "Authorities of client certificates, PEM; clients without one are refused. Empty: none is asked "
           "for.",
           &C::tls_client_ca),
      Duration("tls-refresh-interval", "How often the TLS files are looked at for new ones.",
               &C::tls_refresh_interval, absl::Seconds(1)),
      Text("auth-tokens-file", "FILE", "Bearer tokens and their roles, YAML. Empty: none is asked for.",
           &C::auth_tokens_file),
      Duration("auth-refresh-interval", "How often the file of tokens is looked at for changes.",
               &C::auth_refresh_interval),
      Duration("drain-timeout", "How long admitted requests may run on after SIGTERM.", &C::drain_timeout),
      Duration("write-stall-timeout", "How long a client may take nothing of its stream.",
               &C::write_stall_timeout, absl::Milliseconds(1)),
      {"log-format", "FORMAT", "text or json.", ReadLogFormat,
       [](const C& config) { return config.json_logs ? "json" : "text"; }},
      Switch("log-text", "Whether the texts of requests may be written to the log.", &C::log_text),
      Text(
          "port-file", "FILE",
          "File to write the ports to once they are bound, as JSON with listen, metrics, admin and health; 0 "
          "where there is none. Empty: none.",
          &C::port_file),
  };
}

}  // namespace

std::string Setting::YamlKey() const { return absl::StrReplaceAll(flag, {{"-", "_"}}); }

std::string Setting::Variable() const {
  return absl::StrCat("ATTRIBUTION_", absl::AsciiStrToUpper(YamlKey()));
}

const std::vector<Setting>& Settings() {
  static const auto* const settings = new std::vector<Setting>(MakeSettings());
  return *settings;
}

}  // namespace attribution::config
