#include "server/telemetry/logging.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <memory>
#include <utility>

namespace attribution::telemetry {
namespace {

std::atomic<LogFormat> chosen_format{LogFormat::kText};

constexpr char kTextPattern[] = "%Y-%m-%dT%H:%M:%S.%e%z %l %v";
constexpr char kJsonPattern[] = R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l",%v})";

std::shared_ptr<spdlog::logger> MakeLogger(LogFormat format, spdlog::level::level_enum level) {
  auto logger =
      std::make_shared<spdlog::logger>("attribution", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern(format == LogFormat::kJson ? kJsonPattern : kTextPattern);
  logger->set_level(level);
  return logger;
}

// The logger in use, made on first use.
std::shared_ptr<spdlog::logger>& Logger() {
  static std::shared_ptr<spdlog::logger> logger = MakeLogger(LogFormat::kText, spdlog::level::info);
  return logger;
}

spdlog::level::level_enum LevelOf(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      break;
  }
  return spdlog::level::err;
}

// Escapes quotes, backslashes and control characters as JSON does.
std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      escaped += '\\';
      escaped += c;
    } else if (c == '\n') {
      escaped += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      char code[8];
      std::snprintf(code, sizeof(code), "\\u%04x", static_cast<unsigned>(c));
      escaped += code;
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string Quoted(std::string_view text) { return '"' + Escaped(text) + '"'; }

// Whether `name=text` can be read back without quotes.
bool IsPlain(std::string_view text) {
  return !text.empty() && std::none_of(text.begin(), text.end(), [](unsigned char c) {
    return c <= 0x20 || c == 0x7f || c == '"' || c == '\\' || c == '=';
  });
}

}  // namespace

LogField::LogField(std::string_view field_name, double number)
    : name(field_name), is_number(std::isfinite(number)) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.6g", number);
  value = text;
}

void SetUpLogging(LogFormat format, LogLevel level) {
  chosen_format = format;
  Logger() = MakeLogger(format, LevelOf(level));
}

void Log(LogLevel level, std::string_view message, const LogFields& fields) {
  const std::shared_ptr<spdlog::logger>& logger = Logger();
  if (!logger->should_log(LevelOf(level))) return;
  logger->log(LevelOf(level), spdlog::string_view_t(FormatLine(chosen_format, message, fields)));
}

std::string FormatLine(LogFormat format, std::string_view message, const LogFields& fields) {
  const bool json = format == LogFormat::kJson;
  std::string line = json ? "\"message\":" + Quoted(message) : Escaped(message);
  for (const LogField& field : fields) {
    if (json) {
      line += ',' + Quoted(field.name) + ':' + (field.is_number ? field.value : Quoted(field.value));
    } else {
      line +=
          ' ' + std::string(field.name) + '=' + (IsPlain(field.value) ? field.value : Quoted(field.value));
    }
  }
  return line;
}

}  // namespace attribution::telemetry
