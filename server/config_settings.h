// The table of settings: for each its name, its help, how it is read and how it is written.
#ifndef SERVER_CONFIG_SETTINGS_H_
#define SERVER_CONFIG_SETTINGS_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "server/config.h"

namespace attribution::config {

struct Setting {
  std::string flag;   // without dashes: "queue-limit"
  std::string value;  // placeholder in the help: "SIZE"
  std::string help;
  // Checks `text` and stores it.
  std::function<absl::Status(std::string_view text, ServerConfig* config)> read;
  // The text that read() turns into the same value.
  std::function<std::string(const ServerConfig& config)> write;

  std::string YamlKey() const;   // "queue_limit"
  std::string Variable() const;  // "ATTRIBUTION_QUEUE_LIMIT"
};

// Every setting, in the order of help and documentation.
const std::vector<Setting>& Settings();

}  // namespace attribution::config

#endif  // SERVER_CONFIG_SETTINGS_H_
