#include "server/config.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <set>
#include <sstream>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "server/config_settings.h"
#include "server/config_values.h"
#include "server/text/nearest_name.h"
#include "yaml-cpp/yaml.h"

namespace attribution::config {
namespace {

// Reads one value; the error says which setting, and where its value came from.
absl::Status ReadValue(const Setting& setting, const std::string& where, const std::string& text,
                       ServerConfig* config) {
  absl::Status status = setting.read(text, config);
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", status.message()));
}

std::string DidYouMean(const std::string& name, const std::vector<std::string>& names) {
  const std::string nearest = text::NearestName(name, names);
  return nearest.empty() ? "See --help for what there is." : absl::StrCat("Did you mean ", nearest, "?");
}

absl::Status ApplyYaml(const std::string& text, const std::string& source, ServerConfig* config) {
  const auto error = [&source](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": ", parts...));
  };
  YAML::Node document;
  try {
    document = YAML::Load(text);
  } catch (const YAML::Exception& exception) {
    return error("Not YAML. ", exception.what(), ".");
  }
  if (document.IsNull()) return absl::OkStatus();
  if (!document.IsMap()) return error("Not a configuration. Write one \"key: value\" a line.");

  std::vector<std::string> keys;
  for (const Setting& setting : Settings()) keys.push_back(setting.YamlKey());
  std::set<std::string> seen;
  for (const auto& entry : document) {
    if (!entry.first.IsScalar() || !(entry.second.IsScalar() || entry.second.IsNull())) {
      return error("Line ", entry.first.Mark().line + 1, " is not \"key: value\" with a plain value.");
    }
    const std::string& key = entry.first.Scalar();
    const auto found = std::find(keys.begin(), keys.end(), key);
    if (found == keys.end()) return error("Unknown key \"", key, "\". ", DidYouMean(key, keys));
    if (!seen.insert(key).second) return error("Key \"", key, "\" is there twice. Keep one.");
    const Setting& setting = Settings()[found - keys.begin()];
    const std::string value = entry.second.IsNull() ? "" : entry.second.Scalar();
    const absl::Status status = ReadValue(setting, absl::StrCat(source, ": ", key), value, config);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ostringstream text;
  if (path == "-") {
    text << std::cin.rdbuf();
  } else {
    std::ifstream file(path, std::ios::binary);
    if (file) text << file.rdbuf();
    if (!file || file.bad()) {
      return absl::InvalidArgumentError(
          absl::StrCat("The configuration file cannot be read. \"", path, "\" must be a readable file."));
    }
  }
  return text.str();
}

// The flags as given, each with its text; empty optionals were not given.
struct Flags {
  std::vector<std::optional<std::string>> settings =
      std::vector<std::optional<std::string>>(Settings().size());
  std::optional<std::string> config_file;
  std::optional<std::string> check_file;
  bool print = false;
  std::optional<std::string> help;
};

// Adds the setting's default to its help.
std::string HelpOf(const Setting& setting) {
  const std::string text = setting.write(ServerConfig{});
  return text.empty() ? setting.help : absl::StrCat(setting.help, " Default: ", text, ".");
}

absl::StatusOr<Flags> ParseFlags(std::vector<std::string> arguments) {
  Flags flags;
  CLI::App app("Serves attention attribution of TorchScript transformers over gRPC.", "attribution-server");
  app.footer(
      "Every flag is also a key of the YAML file (--queue-limit = queue_limit:) and an environment variable\n"
      "(ATTRIBUTION_QUEUE_LIMIT). Flags override the environment, which overrides the file.\n\n"
      "Example: attribution-server --model-repository models --listen 0.0.0.0:8500 --memory-budget 2GiB");
  app.allow_extras();
  std::vector<std::string> names = {"--config", "--check-config", "--print-config", "--help"};
  for (size_t i = 0; i < Settings().size(); ++i) {
    const Setting& setting = Settings()[i];
    names.push_back(absl::StrCat("--", setting.flag));
    app.add_option(names.back(), flags.settings[i], HelpOf(setting))->type_name(setting.value);
  }
  app.add_option("--config", flags.config_file, "YAML file of settings.")->type_name("FILE");
  app.add_option("--check-config", flags.check_file,
                 "Check a YAML file (- is standard input) and exit 0 or 2.")
      ->type_name("FILE");
  app.add_flag("--print-config", flags.print, "Print the settings that would be used, as YAML, and exit.");
  try {
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them so
    app.parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    flags.help = app.help();
    return flags;
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(absl::StrCat("Bad command line. ", error.what(), ". See --help."));
  }
  const std::vector<std::string> unknown = app.remaining();
  if (!unknown.empty()) {
    const std::string name = unknown[0].substr(0, unknown[0].find('='));
    return absl::InvalidArgumentError(absl::StrCat("Unknown argument ", name, ". ", DidYouMean(name, names)));
  }
  return flags;
}

// Checks what no setting can tell alone.
absl::Status CheckTogether(const ServerConfig& config) {
  if (config.tls_cert.empty() != config.tls_key.empty()) {
    return absl::InvalidArgumentError(
        "--tls-cert and --tls-key go together. Name the certificate and its key, or neither.");
  }
  if (config.tls_cert.empty() && !config.tls_client_ca.empty()) {
    return absl::InvalidArgumentError(
        "--tls-client-ca needs TLS. Name --tls-cert and --tls-key too, or leave it out.");
  }
  return absl::OkStatus();
}

}  // namespace

std::optional<std::string> ProcessEnvironment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

absl::StatusOr<ServerConfig> ReadYaml(const std::string& text, const std::string& source) {
  ServerConfig config;
  absl::Status status = ApplyYaml(text, source, &config);
  if (status.ok()) status = CheckTogether(config);
  if (!status.ok()) return status;
  return config;
}

std::string ToYaml(const ServerConfig& config) {
  YAML::Emitter yaml;
  yaml << YAML::BeginMap;
  for (const Setting& setting : Settings()) {
    yaml << YAML::Key << setting.YamlKey() << YAML::Value << setting.write(config);
  }
  yaml << YAML::EndMap;
  return absl::StrCat(yaml.c_str(), "\n");
}

absl::StatusOr<Command> ReadCommandLine(const std::vector<std::string>& arguments,
                                        const Environment& environment) {
  const absl::StatusOr<Flags> flags = ParseFlags(arguments);
  if (!flags.ok()) return flags.status();
  Command command;
  if (flags->help.has_value()) {
    command.action = Command::Action::kPrint;
    command.text = *flags->help;
    return command;
  }
  if (flags->check_file.has_value()) {
    const absl::StatusOr<std::string> text = ReadFile(*flags->check_file);
    if (!text.ok()) return text.status();
    const absl::StatusOr<ServerConfig> checked = ReadYaml(*text, *flags->check_file);
    if (!checked.ok()) return checked.status();
    command.action = Command::Action::kPrint;
    command.text = "The configuration is valid.\n";
    return command;
  }

  absl::Status status;
  if (flags->config_file.has_value()) {
    const absl::StatusOr<std::string> text = ReadFile(*flags->config_file);
    if (!text.ok()) return text.status();
    status = ApplyYaml(*text, *flags->config_file, &command.config);
  }
  for (size_t i = 0; i < Settings().size() && status.ok(); ++i) {
    const Setting& setting = Settings()[i];
    // A variable that is set to nothing counts as not set: shells and manifests make such ones by accident.
    const std::string variable = environment(setting.Variable()).value_or("");
    if (!variable.empty()) status = ReadValue(setting, setting.Variable(), variable, &command.config);
    if (!status.ok() || !flags->settings[i].has_value()) continue;
    status = ReadValue(setting, absl::StrCat("--", setting.flag), *flags->settings[i], &command.config);
  }
  if (status.ok()) status = CheckTogether(command.config);
  if (!status.ok()) return status;
  if (flags->print) {
    command.action = Command::Action::kPrint;
    command.text = ToYaml(command.config);
  } else if (command.config.model_repository.empty()) {
    return absl::InvalidArgumentError(
        "--model-repository is missing. Name the folder that holds the model bundles.");
  }
  return command;
}

}  // namespace attribution::config
