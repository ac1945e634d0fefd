// Reads UTF-8 one code point at a time. Thread-safe.
#ifndef ATTRIBUTION_CLIENT_CLI_UNICODE_H_
#define ATTRIBUTION_CLIENT_CLI_UNICODE_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace attribution::cli {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

// Takes the first code point off `text`; kReplacementCharacter, and one byte, where it is not valid UTF-8.
// REQUIRES: `text` is not empty.
char32_t TakeCodePoint(std::string_view& text);

// Appends a code point as UTF-8.
void AppendUtf8(char32_t code_point, std::string& text);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_UNICODE_H_
