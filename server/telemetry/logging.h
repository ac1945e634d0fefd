// One log line per event, on standard error, as text or as JSON.
//
// Thread-safe once SetUpLogging() has returned; lines of several threads do not mix. What a request holds
// (texts, ids) must not be logged.
#ifndef SERVER_TELEMETRY_LOGGING_H_
#define SERVER_TELEMETRY_LOGGING_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace attribution::telemetry {

enum class LogFormat { kText, kJson };
enum class LogLevel { kDebug, kInfo, kWarning, kError };

// A named value of a line.
struct LogField {
  LogField(std::string_view field_name, std::string_view text) : name(field_name), value(text) {}
  LogField(std::string_view field_name, const char* text) : name(field_name), value(text) {}
  LogField(std::string_view field_name, double number);
  template <typename Integer>
    requires std::is_integral_v<Integer>
  LogField(std::string_view field_name, Integer number)
      : name(field_name), value(std::to_string(number)), is_number(true) {}

  std::string_view name;  // snake_case, a literal
  std::string value;
  bool is_number = false;
};

using LogFields = std::vector<LogField>;

// Chooses the format and drops lines below `level`. Until it is called, lines are text and kInfo is the
// lowest level.
void SetUpLogging(LogFormat format, LogLevel level = LogLevel::kInfo);

// Writes one line. `message` is a fixed sentence; what varies goes into `fields`.
void Log(LogLevel level, std::string_view message, const LogFields& fields = {});

// The part of a line after time and level. Text: `Message. name=value other="two words"`; JSON: the members
// `"message":"…","name":"value"` without braces. Control characters are escaped, so a value cannot forge a
// line.
std::string FormatLine(LogFormat format, std::string_view message, const LogFields& fields);

}  // namespace attribution::telemetry

#endif  // SERVER_TELEMETRY_LOGGING_H_
